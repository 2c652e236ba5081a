"""What `splitplace bench NAME` does, for each NAME: options checked, a bench run, its tables printed."""
