"""Which split a task runs as; one algorithm a file."""
