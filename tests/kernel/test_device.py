"""Device and fleet records, as TOML files bring them."""

import pytest

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.records.device import FleetSpec

pytestmark = pytest.mark.base

DEVICE = """
[[devices]]
name = "pi"
kind = "raspberry-pi-5"
count = 2
cores = 4
core_speed = 0.4
memory_bytes = 4_000_000_000
disk_bytes = 32_000_000_000
disk_bytes_per_s = 4.0e7
up_bytes_per_s = 1.0e7
down_bytes_per_s = 1.0e7
rtt_s = 0.002
power_w = [2.7, 3.0, 3.3, 3.6, 4.0, 4.4, 4.8, 5.2, 5.6, 6.0, 6.4]
"""


def read(tmp_path, text: str) -> FleetSpec:
    """A fleet file with this text, read."""
    path = tmp_path / "fleet.toml"
    path.write_text('name = "lab"\n' + text)
    return FleetSpec.from_toml(path)


def test_count_stands_for_single_devices(tmp_path):
    """Two of a kind are two units with names of their own."""
    assert [unit.name for unit in read(tmp_path, DEVICE).units()] == ["pi-0", "pi-1"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cores = 4", "cores = 0", r"fleet.toml: not a fleet: devices.0.cores: .* greater than 0, got 0$"),
        ("core_speed = 0.4", "core_sped = 0.4", r"devices.0.core_sped: no such key: did you mean core_speed\?"),
        ("[[devices]]", "[[device]]", r"not a fleet: device: no such key: did you mean devices\?"),
        ("cores = 4", "cores = 10_000_000", "cores"),
        ("memory_bytes = 4_000_000_000", f"memory_bytes = {10**400}", "memory_bytes"),
        ("disk_bytes_per_s = 4.0e7", "disk_bytes_per_s = 1e-300", "disk_bytes_per_s: .*at least 1e-15, got 1e-300"),
        ("rtt_s = 0.002", "rtt_s = 0.002\ncost_usd_per_h = 1e308", "cost_usd_per_h"),
        ("2.7, ", "1e308, ", "power_w"),
        ("core_speed = 0.4", "core_speed = nan", "core_speed"),
        ("core_speed = 0.4", "core_speed = -1.0", "core_speed"),
        ("rtt_s = 0.002", "rtt_s = 0.002\nrtt_ms = 2", "rtt_ms"),
        ("rtt_s = 0.002", "", "rtt_s"),
        ("6.0, 6.4]", "6.0]", "power_w"),
        ('name = "pi"', 'name = "../pi"', "name"),
        ("cores = 4", "cores = = 4", "not TOML"),
    ],
)
def test_a_bad_field_is_named(tmp_path, old, new, message):
    """One line: the file, the field, what is wrong."""
    with pytest.raises(SplitPlaceError, match=message):
        read(tmp_path, DEVICE.replace(old, new))


@pytest.mark.parametrize("form", ["\ufeff{}", "{}"])
def test_a_file_as_an_editor_writes_it(tmp_path, form):
    """With a byte order mark before it or without, and with two letters at the end of each line."""
    path = tmp_path / "fleet.toml"
    path.write_text(form.format(f'name = "lab"\n{DEVICE}'), encoding="utf-8", newline="\r\n")
    assert FleetSpec.from_toml(path).name == "lab"
    path.write_text(form.format(FleetSpec.from_toml(path).model_dump_json()), encoding="utf-8")
    assert FleetSpec.parse(path.read_bytes(), "fleet").devices[0].count == 2


def test_two_devices_of_one_name_are_refused(tmp_path):
    """A placement names a device."""
    with pytest.raises(SplitPlaceError, match="must differ"):
        read(tmp_path, DEVICE + DEVICE)


def test_a_missing_file_is_wrong_usage(tmp_path):
    """Exit code 2."""
    with pytest.raises(UsageError, match="no fleet file"):
        FleetSpec.from_toml(tmp_path / "nowhere.toml")
