"""The command line: a table of typed functions, each imported only when it is called."""

import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from cyclopts import App, CycloptsError, Parameter, Token, convert

from splitplace.cli.output import answer_alone, fail, listen, open_standard_streams
from splitplace.errors import SplitPlaceError, UsageError, explained

BENCHES = "splitplace.benchmarks.commands"
# name, where the function is, one line for the overview (so that --help imports none of them)
COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("demo", "splitplace.cli.demo:demo", "The whole story on real images on this machine."),
    ("data fetch", "splitplace.cli.data:fetch", "Get real data sets by every known way."),
    ("train", "splitplace.cli.train:train", "Train a model into a RUN folder."),
    ("split", "splitplace.cli.split:split", "Cut a model into fragments, layer by layer."),
    ("export", "splitplace.cli.export:export", "Put a RUN's or SPLIT's fragments into a catalog as ONNX."),
    ("image", "splitplace.cli.image:image", "Build images of a split and its fragments, which run anywhere."),
    ("catalog ls", "splitplace.cli.catalog:ls", "List the splits of a catalog."),
    ("catalog show", "splitplace.cli.catalog:show", "Show a split's graph and measurements."),
    ("catalog verify", "splitplace.cli.catalog:verify", "Hold everything in a catalog against its digests."),
    ("catalog gc", "splitplace.cli.catalog:gc", "Remove what nothing leads to."),
    ("catalog push", "splitplace.cli.registry:push", "Bring splits into a registry, with their measurements."),
    ("catalog pull", "splitplace.cli.registry:pull", "Bring splits out of a registry, and hold them to their digests."),
    ("catalog demand", "splitplace.cli.catalog:demand", "Write costs and accuracies for the simulator."),
    ("profile", "splitplace.cli.profile:profile", "Measure what each fragment costs on this device."),
    ("evaluate", "splitplace.cli.evaluate:evaluate", "Measure a split's accuracy through onnxruntime."),
    ("infer", "splitplace.cli.infer:infer", "Run a split on this device from the catalog."),
    ("simulate", "splitplace.cli.simulate:app", "Run a policy on a simulated fleet."),
    ("advise", "splitplace.cli.advise:advise", "Say what to ship to a fleet, and whether to split at all."),
    ("fleet start", "splitplace.cli.fleet:start", "Start a live fleet, and serve."),
    ("fleet invite", "splitplace.cli.fleet:invite", "Print a token by which a machine may join as a device."),
    ("fleet join", "splitplace.cli.fleet:join", "Make this machine a device of a fleet, by a token."),
    ("fleet revoke", "splitplace.cli.fleet:revoke", "Put a device out of a fleet."),
    ("fleet status", "splitplace.cli.fleet_status:status", "Show a fleet's devices and tasks."),
    ("fleet drain", "splitplace.cli.fleet:drain", "Take no more tasks, and wait until all have ended."),
    ("fleet stop", "splitplace.cli.fleet:stop", "End a fleet."),
    ("fleet history", "splitplace.cli.fleet_status:history", "Print what happened in a fleet, event by event."),
    ("fleet answer", "splitplace.cli.submit:answer", "Wait for the answer of a task that was left behind."),
    ("fleet cancel", "splitplace.cli.submit:cancel", "Take a task back."),
    ("submit", "splitplace.cli.submit:submit", "Have a live fleet classify images."),
    ("serve", "splitplace.cli.serve:serve", "Serve a catalog, or a live fleet, over HTTP."),
    ("token add", "splitplace.cli.serve:token_add", "Let somebody call the HTTP front door."),
    ("token ls", "splitplace.cli.serve:token_ls", "List who may."),
    ("token revoke", "splitplace.cli.serve:token_revoke", "Let somebody call it no more."),
    ("policy train", "splitplace.cli.policy:train", "Train the bandit, the surrogates and the baselines."),
    ("policy show", "splitplace.cli.policy:show", "Print a saved state readably."),
    ("bench timings", f"{BENCHES}.fleets:timings", "What is promised in seconds, measured."),
    ("bench pipeline", f"{BENCHES}.fleets:pipeline", "What a hop, and a chain of devices, costs."),
    ("bench chaos", f"{BENCHES}.fleets:chaos", "What becomes of tasks while devices and broker die."),
    ("bench ray", f"{BENCHES}.fleets:ray", "The same on a Ray cluster: nodes, broker and head die."),
    ("bench soak", f"{BENCHES}.fleets:soak", "What a fleet holds on to when it runs for long."),
    ("bench demo", f"{BENCHES}.fleets:demo", "The demo's stream under joint, and under the bandit."),
    ("bench serve", f"{BENCHES}.door:serve", "What the front door costs, beside Ray Serve."),
    ("bench requests", f"{BENCHES}.door:requests", "A million generated requests to the front door."),
    ("bench perf-analyzer", f"{BENCHES}.door:perf_analyzer", "Triton's perf_analyzer against the front door."),
    ("bench testbed", f"{BENCHES}.fleets:testbed", "A fleet's responses beside their simulated ones."),
    (
        "bench testbed-loaded",
        f"{BENCHES}.fleets:testbed_loaded",
        "The same under load, of devices of one core and two.",
    ),
    ("bench simulator", f"{BENCHES}.simulator:simulator", "How fast the simulator is."),
    ("bench plans", f"{BENCHES}.simulator:plans", "What a plan takes, from 50 devices to 10,000."),
    ("bench training", f"{BENCHES}.models:training", "How fast training is, and how good full models are."),
    ("bench semantic", f"{BENCHES}.models:semantic", "How good splits by meaning are, and how quick."),
    ("bench artifacts", f"{BENCHES}.models:artifacts", "How well fragments know their own cost."),
    ("bench images", f"{BENCHES}.models:images", "What images weigh, and take until they answer."),
    ("bench fig2", f"{BENCHES}.models:fig2", "When to split by layer, by meaning, to compress, or not."),
    ("bench demand", f"{BENCHES}.demand:demand", "Makes the demand that ships with the simulator."),
    ("bench published-code", f"{BENCHES}.policies:published_code", "The simulator against the paper's code."),
    ("bench adaptation", f"{BENCHES}.simulator:adaptation", "What learning is worth when something shifts."),
    ("bench policies", f"{BENCHES}.policies:policies", "What joint is worth, beside all others and a bound."),
    ("bench robustness", f"{BENCHES}.policies:robustness", "What not knowing costs a policy."),
    ("bench table4", f"{BENCHES}.policies:table4", "The paper's Table 4, beside what it prints."),
    ("bench paper", f"{BENCHES}.policies:paper", "A figure of the paper, its claims held against it."),
    ("bench fair", f"{BENCHES}.policies:fair", "All policies with their best placers, and at their worst."),
    ("bench placement", f"{BENCHES}.simulator:placement", "What DASO is worth, beside controls and bounds."),
    ("bench foreign", f"{BENCHES}.models:foreign", "Models that others wrote: cut, or truly refused."),
    ("bench layer-split", f"{BENCHES}.models:layer_split", "How good cuts by layer are, and what they cost."),
)
GROUPS = {
    "bench": "The project's claims, measured.",
    "data": "Data sets.",
    "fleet": "A live fleet of devices.",
    "policy": "Policies that learn.",
    "token": "Who may call the HTTP front door.",
    "catalog": "The OCI image layout that holds splits.",
}


def _converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """As the library has it, but that 1.5 is no whole number."""
    if type_ is int and not all(re.fullmatch(r"[+-]?\d+", token.value) for token in tokens):
        raise ValueError(f"expected a whole number, got {' '.join(token.value for token in tokens)}")
    return convert(type_, tokens)


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse what no record, no JSON and no table can hold: bytes that are no UTF-8, and the end of a C string."""
    for argument in arguments:
        if "\0" in argument or any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise UsageError(f"{argument!r:.200}: expected text in UTF-8, of a file its name: rename it")


def build() -> App:
    """The application with every command of the table, none of them imported."""
    app = App(
        name="splitplace",
        help="Split CNNs, ship the fragments, place them by deadline.",
        help_format="plaintext",
        suppress_keyboard_interrupt=False,  # `main` has a word for it
        # Flags are off unless given: no --no-json beside --json. What takes several takes what a shell makes of *.png,
        # and of an empty $NAME nothing is made: that is no word for all.
        default_parameter=Parameter(negative=(), consume_multiple=1, converter=_converted),
    )
    groups = {name: App(name=name, help=text, help_format="plaintext") for name, text in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for name, target, text in COMMANDS:
        parent, _, leaf = name.rpartition(" ")
        (groups[parent] if parent else app).command(target, name=leaf, help=text)
    return app


def main(tokens: Sequence[str] | None = None) -> None:
    """Run one command: exit 0 done, 1 the work failed, 2 wrong usage, 77 refused for good, 130 interrupted."""
    open_standard_streams()
    app = build()
    listen()
    arguments = list(sys.argv[1:] if tokens is None else tokens)
    try:
        with explained():
            _check_text(arguments)
            asks_help = {"--help", "-h", "--version"}.intersection(arguments)
            with answer_alone() if "--json" in arguments and not asks_help else nullcontext():
                app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        fail(" ".join(str(error).split()) + " See --help.", 2)
    except SplitPlaceError as error:
        fail(str(error), error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left: nobody to tell
        sys.exit(1)
    except KeyboardInterrupt:
        fail("interrupted; the same command does it again, or goes on where it keeps what is done", 130)
