"""The device runtime: a process that runs fragments and streams tensors."""
