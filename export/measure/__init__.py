"""What fragments cost and splits are worth, measured on this device."""
