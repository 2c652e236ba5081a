"""Writes RESULTS.md from the results files: per claim the command, the figures, the verdict, and where they are from.

`python -m splitplace.benchmarks.results_page` (`make results`) writes it, and the index (`results_index.py`); a test
holds that both in the checkout are what this writes. Verdicts are those of the benches, word for word: nothing is
judged here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from splitplace.benchmarks import (
    adversary,
    bandit_training,
    demand_page,
    fleets_tables,
    frontier_page,
    loaded_testbed_page,
    models_tables,
    paper_table,
    perf_analyzer,
    policies_table,
    ray_overhead,
    requests,
    robustness,
    simulator_tables,
)
from splitplace.benchmarks.results_section import FileSection
from splitplace.files import replace_file

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "RESULTS.md"
HEAD = """# Results

Written by `make results` from the files in `results/`; do not edit. [METHODOLOGY.md](METHODOLOGY.md) says how
each figure is measured. Intervals are of 95 %. `commit` is the code that measured the file's last cell; `+dirty` means
that files differed from it. Machines have no name here: two runs of one processor type need not be of one machine.
"""


@dataclass(frozen=True)
class Claim:
    """One results file, what it is about, and what makes it."""

    file: str
    title: str
    command: str
    tell: Callable[[bytes, Path], FileSection]


CLAIMS = (
    Claim("layer_split.json", "Layer-wise splits", "splitplace bench layer-split", models_tables.layer_split),
    Claim("foreign.json", "Models that others wrote", "splitplace bench foreign", models_tables.foreign),
    Claim(
        "training.json",
        "Training",
        "splitplace bench training --train mnist,fashionmnist --pairs 110",
        models_tables.training,
    ),
    Claim("demand.json", "Three networks on three data sets", "splitplace bench demand", demand_page.section),
    Claim("fig2.json", "When to split, and how", "splitplace bench fig2", frontier_page.section),
    Claim(
        "semantic.json",
        "Semantic splits, ten classes",
        "splitplace bench semantic --plot PICTURE",
        models_tables.semantic,
    ),
    Claim(
        "semantic-tiny100.json",
        "Semantic splits, a hundred classes",
        "splitplace bench semantic tiny100 --path FOLDER",
        models_tables.semantic,
    ),
    Claim("timings.json", "What is promised in seconds", "splitplace bench timings", fleets_tables.timings),
    Claim(
        "artifacts.json", "Fragments that know their own cost", "splitplace bench artifacts", models_tables.artifacts
    ),
    Claim("images.json", "Images that run", "splitplace bench images", models_tables.images),
    Claim(
        "simulator-upstream.json",
        "The simulator's speed, published constants",
        "splitplace bench simulator",
        simulator_tables.simulator,
    ),
    Claim(
        "simulator-measured.json",
        "The simulator's speed, measured demand",
        "splitplace bench simulator --demand measured",
        simulator_tables.simulator,
    ),
    Claim("plans.json", "What a plan takes", "splitplace bench plans", simulator_tables.plans),
    Claim("pipeline.json", "A hop, and a chain of devices", "splitplace bench pipeline", fleets_tables.pipeline),
    Claim(
        "chaos.json",
        "Tasks while devices and broker die",
        "splitplace bench chaos --faults 60 --seed 3",
        fleets_tables.chaos,
    ),
    Claim(
        "chaos-1000.json",
        "Tasks while devices and broker die, a thousand faults",
        "splitplace bench chaos --faults 1000 --seed 17 --results benchmarks/results/chaos-1000.json",
        fleets_tables.chaos,
    ),
    Claim(
        "chaos-kills.json",
        "Tasks while devices die, one at a time",
        "splitplace bench chaos --faults 150 --only device_killed --every 6 --seed 5 "
        "--results benchmarks/results/chaos-kills.json",
        fleets_tables.chaos,
    ),
    Claim("ray.json", "Tasks while a Ray cluster's machines die", "splitplace bench ray", fleets_tables.ray_faults),
    Claim("ray_overhead.json", "The Ray engine beside local", "splitplace bench ray --overhead", ray_overhead.section),
    Claim("soak.json", "A fleet that runs for long", "splitplace bench soak --share 0.1", fleets_tables.soak),
    Claim("demo.json", "The demo's stream under two policies", "splitplace bench demo", fleets_tables.demo),
    Claim("serve.json", "The front door", "splitplace bench serve --ray PYTHON", fleets_tables.serve),
    Claim(
        "requests.json",
        "Requests that nobody thought of",
        "splitplace bench requests --schemathesis 0.02",
        requests.section,
    ),
    Claim(
        "perf-analyzer.json",
        "Triton's perf_analyzer against the front door",
        "splitplace bench perf-analyzer PROGRAM",
        perf_analyzer.section,
    ),
    Claim("testbed.json", "A fleet beside its simulation", "splitplace bench testbed", fleets_tables.testbed),
    Claim(
        "testbed-loaded.json",
        "Fleets under load beside their simulation",
        "splitplace bench testbed-loaded",
        loaded_testbed_page.section,
    ),
    Claim(
        "published_code.json",
        "The published code's experiment",
        "splitplace bench published-code",
        paper_table.section,
    ),
    Claim("table4.json", "Table 4, figures 7 and 8", "splitplace bench table4", paper_table.section),
    Claim("fig6.json", "Figure 6: training the bandit", "splitplace bench paper fig6", bandit_training.section),
    Claim("fig9.json", "Figures 9 and 11: the rate", "splitplace bench paper fig9", paper_table.section),
    Claim(
        "fig10.json", "Figures 10 and 12: energy against response", "splitplace bench paper fig10", paper_table.section
    ),
    Claim("fig13.json", "Figures 13 to 15: half of everything", "splitplace bench paper fig13", paper_table.section),
    Claim("fig16.json", "Figures 16 and 17: one application", "splitplace bench paper fig16", paper_table.section),
    Claim("fig18.json", "Figure 18: the cloud", "splitplace bench paper fig18", paper_table.section),
    Claim("fig19.json", "Figure 19: splitting and placing", "splitplace bench paper fig19", paper_table.section),
    Claim("fair.json", "The fair table", "splitplace bench fair", paper_table.section),
    Claim(
        "fair-adversaries.json", "Each policy at its worst", "splitplace bench fair --adversaries", adversary.section
    ),
    Claim("policies.json", "Policies, each with its best placer", "splitplace bench policies", policies_table.section),
    Claim("robustness.json", "Policies that are told wrong", "splitplace bench robustness", robustness.section),
    Claim("placement.json", "Placers under the bandit", "splitplace bench placement", simulator_tables.placement),
    Claim(
        "placement-20-seeds.json",
        "`daso-tasks` under the bandit, twenty seeds",
        'splitplace bench placement --seeds 20 --rows least-loaded --rows daso-tasks --rows "daso-tasks, no ascent" '
        "--results benchmarks/results/placement-20-seeds.json",
        simulator_tables.placement,
    ),
    Claim(
        "placement-layer.json",
        "`daso-tasks` on chains alone",
        "splitplace bench placement --decider layer --rows least-loaded --rows daso-tasks "
        '--rows "daso-tasks, no ascent" --rows random --results benchmarks/results/placement-layer.json',
        simulator_tables.placement,
    ),
    Claim(
        "placement-azure10.json",
        "Placers on ten devices, the exact one among them",
        "splitplace bench placement --fleet azure10 --state FOLDER --results benchmarks/results/placement-azure10.json",
        simulator_tables.placement,
    ),
    Claim(
        "adaptation.json",
        "Learning during a run, from the least-loaded placement",
        "splitplace bench adaptation --placers daso-warm",
        simulator_tables.adaptation,
    ),
    Claim(
        "adaptation-daso.json",
        "Learning during a run, from a random placement",
        "splitplace bench adaptation --placers daso --results benchmarks/results/adaptation-daso.json",
        simulator_tables.adaptation,
    ),
)
"""In the page's order; a file without an entry here fails a test."""


def page(folder: Path = FOLDER) -> str:
    """The whole page; a file that is not there is "not run"."""
    return "\n".join([HEAD, *(section(claim, folder) for claim in CLAIMS)])


def section(claim: Claim, folder: Path) -> str:
    """One claim."""
    lines = [f"## {claim.title}", "", "```text", claim.command, "```", ""]
    file = folder / claim.file
    if not file.is_file():
        return "\n".join([*lines, "Not run.", ""])
    told = claim.tell(file.read_bytes(), file)
    for table in told.tables:
        lines += [*markdown(table), ""]
    lines += [*(judged(claimed, word) for claimed, word in told.verdict.items()), *[""] * bool(told.verdict)]
    lines += [*told.remarks, *[""] * bool(told.remarks)]
    picture = file.with_suffix(".svg")
    if picture.is_file():
        lines += [f"![{claim.title}](results/{picture.name})", ""]
    return "\n".join([*lines, where(claim.file, told), ""])


def judged(claimed: str, word: str) -> str:
    """A line of the verdict; the plain yes or no stands out."""
    return f"- {claimed}: " + (f"**{word}**" if word in ("holds", "does not hold", "not run") else word)


def where(file: str, told: FileSection) -> str:
    """The line on file, commits, machines, date and seeds."""
    provenance, machine = told.provenance, told.provenance.machine.words
    cells = sorted({short(commit) for commit in told.commits} - {short(provenance.commit)})
    of_cells = f" (cells also of {', '.join(cells)})" if cells else ""
    others = [other for other in told.machines if other != machine]
    on_others = f" (cells also on {'; '.join(others)})" if others else ""
    versions = ", ".join(f"{name} {provenance.versions[name]}" for name in ("onnxruntime", "torch", "numpy"))
    return (
        f"[{file}](results/{file}) · commit {short(provenance.commit)}{of_cells} · {provenance.created[:10]} · "
        f"{machine}{on_others} · {versions} · seeds {', '.join(map(str, told.seeds))}"
    )


def short(commit: str) -> str:
    """A commit as one reads it, with its `+dirty`."""
    name, plus, dirty = commit.partition("+")
    return name[:9] + plus + dirty


def markdown(table: Sequence[Mapping[str, str]]) -> list[str]:
    """A Markdown table; the rows share their keys, which are its head."""
    head = list(table[0])
    rows = [head, ["---"] * len(head), *([row[key] for key in head] for row in table)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


if __name__ == "__main__":
    from splitplace.benchmarks.results_index import INDEX, index

    replace_file(PAGE, page())
    replace_file(INDEX, index())
