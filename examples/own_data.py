"""Images of your own: a folder with a folder for each class. Here they are drawn; yours come from a camera."""

from pathlib import Path

import numpy as np
from PIL import Image

import splitplace as sp


def draw(folder: Path, classes: dict[str, tuple[int, int, int]], count: int = 100) -> None:
    """Noisy squares, a colour a class."""
    rng = np.random.default_rng(0)
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            noise_HWC = rng.integers(-40, 40, (32, 32, 3))
            image_HWC = np.clip(np.array(colour) + noise_HWC, 0, 255).astype(np.uint8)
            Image.fromarray(image_HWC).save(folder / name / f"{number}.png")


if __name__ == "__main__":
    draw(Path("photos"), {"apple": (200, 60, 60), "pear": (120, 190, 60), "plum": (90, 50, 140)})
    data = sp.fetch("photos", path="photos", mirror=True)
    run = sp.train(data, epochs=15)
    done = sp.export(run, "catalog")
    print(f"held out: {sp.evaluate(done.location, data=data).top1:.2f}")
    print(f"photos/pear/0.png: {sp.infer(done.location, ['photos/pear/0.png']).names[0]}")
