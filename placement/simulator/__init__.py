"""Discrete-event simulation of a fleet that serves split networks, around the same `plan` as the live broker."""
