"""A network of timm by its name: cut where it costs least, without training anything."""

import splitplace as sp

if __name__ == "__main__":
    cut = sp.split("mobilenetv3_small_100", random_weights=True, size=64, fragments=3, out="thirds")
    for part in cut.fragments:
        print(f"{part.name} on {part.device}: {1e3 * part.cost_s:.2f} ms, {part.memory_bytes / 2**20:.1f} MiB")
    print(sp.export("thirds", "catalog").location)
