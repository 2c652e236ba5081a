"""A client of the front door: a fleet asked over HTTP, by its URL; see README.md."""
