"""A model running on this device: sessions, executor, inputs, and how fast the device is."""
