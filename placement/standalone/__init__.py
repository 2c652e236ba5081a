"""A split, or a fragment of one, on this device alone, over HTTP: what runs in an image."""
