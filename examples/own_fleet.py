"""A fleet of your own: cut a network for it, then simulate tasks on it."""

import splitplace as sp

PI_W = (2.7, 3.1, 3.4, 3.8, 4.2, 4.6, 4.9, 5.3, 5.7, 6.0, 6.4)  # at 0, 10, ... 100 % CPU


def device(name, count, core_speed, memory_bytes):
    """A device on a link of 12 MB/s; what differs is how fast and how large it is."""
    return sp.Device(
        name=name,
        kind=name,
        count=count,
        cores=4,
        core_speed=core_speed,
        memory_bytes=memory_bytes,
        disk_bytes=32 * 10**9,
        disk_bytes_per_s=40e6,
        up_bytes_per_s=12e6,
        down_bytes_per_s=12e6,
        rtt_s=0.002,
        power_w=PI_W,
    )


if __name__ == "__main__":
    fleet = sp.FleetSpec(name="kitchen", devices=(device("pi", 3, 0.35, 4 * 10**9), device("nuc", 1, 0.9, 16 * 10**9)))
    cut = sp.split("mobilenetv2", random_weights=True, size=64, fragments=3, exactly=True, devices=fleet)
    for part in cut.fragments:
        print(f"{part.name} on {part.device}: {1e3 * part.cost_s:.2f} ms, {part.memory_bytes / 2**20:.1f} MiB")
    done = sp.simulate("mab+least-loaded", fleet=fleet, intervals=10, rate=1)
    print(f"{done.metrics.tasks.finished} tasks, reward {done.metrics.reward:.3f}, {done.metrics.energy_kwh:.3f} kWh")
