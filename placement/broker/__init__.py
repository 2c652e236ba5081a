"""The broker: tasks in, plans carried out, answers out."""
