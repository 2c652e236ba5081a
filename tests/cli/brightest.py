"""A model as a file, where there is no onnx to make it, and a fleet of two devices to serve it."""

import base64

MODEL = base64.b64decode(
    "CAk6jQEKIAoFaW1hZ2USBmZsb2F0cyIEQ2FzdCoJCgJ0bxgBoAECChkKBmZsb2F0cxIGbG9naXRzIgdGbGF0dGVuEglicmlnaHRlc3RaJAoFaW1h"
    "Z2USGwoZCAISFQoHEgViYXRjaAoCCAEKAggCCgIIAmIdCgZsb2dpdHMSEwoRCAESDQoHEgViYXRjaAoCCARCBAoAEBI="
)
"""ONNX: uint8 [batch,1,2,2] as float32 [batch,4]; the class of the brightest pixel."""
FLEET = """
name = "two"

[[devices]]
name = "d"
kind = "test"
count = 2
cores = 1
core_speed = 1.0
memory_bytes = 1_000_000_000
disk_bytes = 1_000_000_000
disk_bytes_per_s = 1e8
up_bytes_per_s = 1e8
down_bytes_per_s = 1e8
rtt_s = 0.001
power_w = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
labels = { cpu_share = "1" }
"""
"""As FLEET.toml."""
