"""How it is trained: one Lightning loop, checkpoints, resumption, several processes."""
