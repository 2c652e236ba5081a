"""Images and labels: the applications known by name, your own, and how they come in batches."""
