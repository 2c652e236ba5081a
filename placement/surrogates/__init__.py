"""What placers climb or ask: learned functions of a placement, their input, and the way up."""
