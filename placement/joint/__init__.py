"""The split and the devices of a task, decided together."""
