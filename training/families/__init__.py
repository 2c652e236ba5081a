"""Networks by name: one file a model family."""
