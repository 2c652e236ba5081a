"""By meaning: a tree of class groups, each branch a physically smaller network."""
