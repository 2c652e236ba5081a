"""Every option of every command, and a call of each command that works or comes to the work."""

from collections.abc import Iterator

from cyclopts import App
from cyclopts.argument import Argument

from splitplace.cli import build
from splitplace.placement.device.joining import Ticket

NET = "mistaken_net:Net"
WHOLE, CHAIN, REF = "own.mistaken_net-Net.full", "custom.model.layer-2", "catalog:own.mistaken_net-Net.full"

TOKEN = Ticket(endpoint="tcp://127.0.0.1:9", key="0" * 40, secret="0" * 64).token

GOOD: dict[str, list[str]] = {
    "demo": [],
    "data fetch": ["own", "--path=images"],
    "train": ["--application=own", "--path=images", f"--model={NET}", "--epochs=1", "--samples=8"],
    "split": ["--source=model.onnx", "--fragments=2"],
    "export": ["--source=split", "--catalog=another"],
    "catalog ls": ["--catalog=catalog"],
    "catalog show": [f"--location={REF}"],
    "catalog verify": ["--catalog=catalog"],
    "catalog gc": ["--catalog=catalog"],
    "catalog push": [f"--location={REF}", "--remote=oci://127.0.0.1:9/team/nets"],
    "catalog pull": ["--remote=oci://127.0.0.1:9/team/nets", "--catalog=another"],
    "catalog demand": ["--catalog=catalog", f"--references={WHOLE}", "--out=d.json"],
    "profile": [f"--location={REF}"],
    "evaluate": [f"--location={REF}", "--images=x.npy", "--labels=y.npy"],
    "infer": [f"--location={REF}", "--input=x.npy"],
    "image": [f"--location={REF}", "--out=images-out"],
    "simulate": ["--policy=full+random", "--scenario=scenario.toml", "--demand=demand.json", "--intervals=1"],
    "simulate trace": ["--out=trace.parquet", "--vehicles=1", "--seconds=2"],
    "advise": ["--catalog=demand.json", "--fleet=fleet.toml", "--rate=1", "--deadline=1"],
    "policy train": ["--scenario=scenario.toml", "--demand=demand.json", "--out=new", "--runs=2", "--intervals=2"],
    "policy show": ["states"],
    "fleet start": ["--devices=fleet.toml", "--catalog=catalog", f"--splits={WHOLE}", "--policy=full+random"],
    "fleet invite": ["--device=a", "--data=fleet"],
    "fleet join": [TOKEN, "--data=machine", "--catalog=catalog"],
    "fleet revoke": ["--device=a", "--data=fleet"],
    "fleet status": ["--data=fleet"],
    "fleet drain": ["--data=fleet"],
    "fleet stop": ["--data=fleet"],
    "fleet history": ["--data=fleet"],
    "fleet answer": ["0", "--data=fleet"],
    "fleet cancel": ["0", "--data=fleet"],
    "submit": ["own", "--input=x.npy", "--deadline=1", "--data=fleet"],
    "serve": ["catalog", "--devices=fleet.toml", "--policy=full+random", "--port=0"],
    "bench paper": ["table4"],
    "bench perf-analyzer": ["--program=/bin/true"],
    "token add": ["ann", "--tokens=new-tokens.json"],
    "token ls": ["--tokens=tokens.json"],
    "token revoke": ["ann", "--tokens=tokens.json"],
}
"""A call of each command that works or comes to the work; of one that is not named, its name alone."""

BESIDE: dict[str, list[str]] = {
    "export --check-images": ["--source=run", "--catalog=another"],
    "export --calibration": ["--source=split", "--catalog=another", "--precision=float16"],
    "simulate --state": ["--policy=mab+random", "--scenario=measured-50", "--intervals=1"],
    "fleet start --state": ["--devices=fleet.toml", "--catalog=catalog", f"--splits={WHOLE}", "--policy=mab+random"],
    "fleet start --registry": ["--devices=fleet.toml", "--catalog=catalog", f"--splits={WHOLE}", "--engine=joined"],
    "infer --missing": [f"--location=catalog:{CHAIN}", "--input=f.npy"],
    "infer --input": [f"--location=catalog:{CHAIN}"],
    "split --random-weights": ["--source=mobilenetv2", "--fragments=2"],
    "split --size": ["--source=mobilenetv2", "--fragments=2", "--random-weights"],
}
"""What goes with an option where that is other than the good call."""
TREE = ["--application=own", "--path=images", "--strategy=semantic", "--full=run"]
BESIDE |= {f"train --{name}": TREE for name in ("tree", "cuts", "groups", "recipe", "overlap", "trunk", "spare")}
BESIDE["train --budget"] = [*TREE, "--cuts=auto"]
BESIDE["train --full"] = ["--application=own", "--path=images", "--strategy=compressed", "--ratio=0.5"]
REMOTE = {"submit": GOOD["submit"][:-1], "fleet answer": ["0"], "fleet cancel": ["0"]}
BESIDE |= {f"{name} --url": call for name, call in REMOTE.items()}
BESIDE |= {f"{name} --{option}": [*call, "--url=https://localhost"] for name, call in REMOTE.items()
           for option in ("token-file", "ca")}  # fmt: skip
BESIDE["train --ratio"] = ["--application=own", "--path=images", "--strategy=compressed", "--full=run"]


def commands(app: App, name: str = "") -> Iterator[tuple[str, App]]:
    """Every command that does something, by name."""
    if app.default_command is not None:
        yield name, app
    for word in app:
        if not word.startswith("-"):
            yield from commands(app[word], f"{name} {word}".strip())


def spelled(argument: Argument, value: str) -> str:
    """A value as this argument takes it: by its name, or alone where it has its place only."""
    alone = argument.is_positional_only() or argument.is_var_positional()
    return value if alone else f"{argument.names[0]}={value}"


ARGUMENTS = {
    (name, argument.field_info.name): argument
    for name, app in commands(build())
    for argument in app.assemble_argument_collection()
}
"""Every argument of every command."""
