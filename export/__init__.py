"""Shipping fragments: ONNX, catalog, profiles, evaluations."""
