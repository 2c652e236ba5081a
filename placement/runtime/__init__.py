"""The live fleet: device processes, their tensor stream, the engines that launch them, the broker."""
