"""Runnable OCI images of fragments and splits, made without a daemon: same input, same digest."""
