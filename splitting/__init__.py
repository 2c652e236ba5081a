"""Cutting a model: layer by layer on the ONNX graph, or by meaning into a tree of class groups."""
