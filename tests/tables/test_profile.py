"""What fragments cost, as people read it."""

from rich.console import Console

from splitplace import provenance
from splitplace.export.measure.fit import held_out
from splitplace.records.encoded_input import EncodedInput
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile
from splitplace.tables.profile import as_png_told, profiles_shown


def profile(seconds, memory, encoded=None):
    """With this latency and memory by batch size."""
    return Profile(
        fragment="f", digest="sha256:" + "0" * 64, core_speed=1.0, load_s=0.1, runtime_base_bytes=1,
        device=DeviceFingerprint(kind="k", cpu="c", architecture="a", cores=1, onnxruntime="0", threads=1),
        memory=tuple(MemoryIncrement(micro_batch=b, fragment_bytes=m) for b, m in memory.items()),
        latency=tuple(Latency(batch_size=b, median_s=s, p10_s=s, p90_s=s, runs=1) for b, s in seconds.items()),
        input_bytes_per_sample=3072, output_bytes_per_sample=1, encoded=encoded, provenance=provenance.collect(),
    )  # fmt: skip


def text(*profiles):
    """The table of these."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(profiles_shown("a split", profiles, [held_out(one) for one in profiles]))
    return capture.get()


def test_errors_stand_beside_what_they_are_of_and_the_worst_below():
    """By hand: 25 % over at batch 2, half of the memory; another fragment without an inner size adds none."""
    bent, short = profile({1: 1.0, 2: 4.0, 3: 9.0}, {1: 10, 2: 40, 3: 30}), profile({1: 1.0, 2: 4.0}, {1: 10, 2: 40})
    said = text(bent, short)
    assert "+25.0%" in said and "-50.0%" in said
    assert "at worst 25.0% (latency) and 50.0% (memory)" in said


def test_without_an_inner_size_there_is_no_worst():
    """There is nothing to predict."""
    assert "at worst" not in text(profile({1: 1.0, 2: 4.0}, {1: 10, 2: 40}))


def test_what_an_image_takes_as_png_is_a_line_a_split():
    """Where it is known."""
    known = profile({1: 1.0}, {1: 10}, EncodedInput(codec="png", bytes_per_sample=512, decode_s=2e-3))
    told = as_png_told({"seen": (known,), "unseen": (profile({1: 1.0}, {1: 10}),)})
    assert told == ["seen: an image takes 512 of 3072 bytes as PNG, and 2 ms to decode on a core of speed 1"]
