"""What is wrong for nearly every option: numbers, names, places, texts; and which files are of which kind."""

NUMBERS = (
    "0", "-1", "nan", "inf", "-inf", "1e400", "1e300", "-0", "9" * 30, "9" * 5000, "9223372036854775808", "1.5",
    "1e3", "0x10",
    "١", "1_000", "", " ", "1 2", "one", "+1", "--1", "1e-400", "1e-320", "0,0", ",", "1,,2", "-1,2", "true", "None",
)  # fmt: skip
NAMES = (
    "", " ", "-", "--", "'", '"', "../x", "/", ".", "..", "A B", "ünïcödé", "名前", "UPPER", "x" * 65, "x" * 300,
    "x" * 5000,
    "a\nb", "a\tb", "a\0b", "\udcff", "a\x1b[31mb", ":", "x:", ":x", "x:y", "x:y:z", "os:system", "builtins:object",
    "+", "a+b",
    "mab+", "layer+nobody", "random+random+random", "mistaken_net:Net", "mistaken_net:Nobody", "nobody.at.all:Net",
    "=", "a=b",
    "x=x.npy", "x=", "=x.npy", "x=x.npy,x=x.npy", "~nobody", "~nobody/x", "$HOME", "*.npy", "[x]", "%s", "{0}",
    "http://localhost/x",
    "resnet18.nobody", "resnet18", "standard", "quick", "paper-50", "azure50:0", "azure50:x", "azure50:-1",
    "nobody:5", "measured",
    "upstream", "timm", "auto", "features", "cat/dog", "0/1", "0,1/0", "0/9", "/", "64MiB", "0MiB", "1e9GiB", "-1",
    "2,2", "2,0", "9,9,9,9",
    "mnist", "cifar100", "mobilenetv2", "layer", "daso", "[red]", "[/]",
)  # fmt: skip
PLACES = (
    "missing", "missing/deeper", "file/below", "images", "locked", "locked/x", "secret", "loop", "loop/x",
    "dangling", "dangling/x",
    "null", "zero", "pipe", "plug", "/proc/self/mem", "/proc/self/status", "/proc/nobody/x", "/proc/self/fd",
    "n" * 255, "n" * 300,
    "n/" * 3000, "a\nb", "a\0b", "\udcff", "", " ", "-", ".", "..", "~nobody", "C:\\x", "x:y", "file", "catalog",
    "split", "run",
    "model.onnx/x", "model.onnx", "x.npy", "fleet.toml", "demand.json", "states", "images/a/0.png", "new",
    "new/deeper/x", "link",
)  # fmt: skip
ENDINGS = ("", ".svg", ".png", ".npy", ".npz", ".json", ".toml", ".onnx", ".parquet", ".safetensors", ".PNG", ".jpg")
TEXTS = {
    "empty": b"", "null": b"null", "list": b"[]", "object": b"{}", "nan": b'{"a": NaN}', "huge": b'{"a": 1e999}',
    "bom": b"\xef\xbb\xbf{}", "utf16": '{"a": 1}'.encode("utf-16"), "latin1": b"n\xe4me = 'x'",
    "binary": bytes(range(256)),
    "deep-json": b"[" * 100_000, "deep-toml": b"a = " + b"[" * 100_000, "bad-toml": b"a = = 1",
    "date": b"name = 2020-01-01",
    "twice": b"a = 1\na = 2", "lines": b"cat\n\ndog\n", "nul": b"a\0b", "long": b"x" * 100_000,
}  # fmt: skip
JUNK = (None, True, -1, 2**70, 1e308, "", "x" * 300, "../x", "a\nb", [], {}, [[]], "١", 0, 0.5, "missing", 10**12)

KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "arrays": (("images", "labels", "input", "calibration", "check_images", "example_inputs"), r"\.np[yz]$"),
    "models": (("source", "input"), r"\.onnx$"),
    "catalogs": (("location", "catalog", "source", "demand", "work"), "^catalog-"),
    "runs": (("source", "full", "runs"), "^run-"),
    "splits": (("source",), "^split-"),
    "pictures": (("path", "tiny100", "input"), r"^pictures-|\.(png|jpg|gif|tiff|webp|parquet)$"),
    "fleets": (("fleet", "devices", "for_"), "^fleet-"),
    "scenarios": (("scenario",), "^scenario-"),
    "demands": (("demand",), "^demand-"),
    "presets": (("preset",), "^preset-"),
    "states": (("state", "path", "weights"), "^states-"),
    "texts": (
        (
            "class_names",
            "results",
            "preset",
            "scenario",
            "fleet",
            "devices",
            "demand",
            "weights",
            "tokens",
            "tls_cert",
            "token_file",
            "ca",
        ),
        "^text-",
    ),
}
"""The options that take each kind of files, and what the names of those that are damaged are like."""
