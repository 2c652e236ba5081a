"""The door of a live fleet: what takes commands and programs to the broker of a data folder."""
