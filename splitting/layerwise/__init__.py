"""Layer by layer: a chain of fragments, cut from the graph of any ONNX model."""
