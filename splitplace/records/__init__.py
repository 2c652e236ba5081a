"""The nouns every room shares, one a file, all frozen. What passes between rooms is made of these and nothing else."""
