"""The front door: the Open Inference Protocol v2 over HTTP, in front of a live fleet."""
