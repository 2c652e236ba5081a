"""What to ship to a fleet, and what to expect of it: `splitplace advise`."""
