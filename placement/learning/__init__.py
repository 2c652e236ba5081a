"""The surrogate of §4.2: its features, its network, how it is trained, and how a placement climbs it."""
