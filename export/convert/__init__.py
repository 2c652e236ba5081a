"""Into ONNX: from torch, from timm, in smaller numbers, and laid out for Triton."""
