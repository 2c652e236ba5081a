"""Stands for what is yours: sorter.onnx, which takes normalised images, what its classes are called, and photos."""

from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

COLOURS = {"bolt": (90, 90, 110), "cup": (200, 120, 60), "disk": (60, 120, 200)}

if __name__ == "__main__":
    network, images = timm.create_model("mobilenetv3_small_100", num_classes=3).eval(), torch.zeros(2, 3, 64, 64)
    named = {"input_names": ["image"], "dynamic_axes": {"image": {0: "n"}}}
    torch.onnx.export(network, images, "sorter.onnx", dynamo=False, **named)
    Path("names.txt").write_text("\n".join(COLOURS))
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        Path("photos", name).mkdir(parents=True, exist_ok=True)
        for number in range(20):
            image = np.clip(np.array(colour) + rng.integers(-40, 40, (64, 64, 3)), 0, 255)
            Image.fromarray(image.astype(np.uint8)).save(Path("photos", name, f"{number}.png"))
