"""Makes one step of a cell of the demand, by the public API."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import splitplace as sp
from splitplace import provenance
from splitplace.benchmarks.demand_cells import (
    COMPRESSED,
    FULL,
    ROOTS,
    SPLITNET,
    TREES,
    CellFolder,
    CellStep,
    DemandSettings,
    StepDone,
    digest_of,
)
from splitplace.benchmarks.demand_ratios import choose_percents
from splitplace.errors import SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.export.measure.profiler import profile_split
from splitplace.progress import Progress
from splitplace.records.device import Device
from splitplace.splitting.semantic.branches import replicate_trunk
from splitplace.training.data.dataset import Dataset
from splitplace.training.preset import load_preset
from splitplace.training.run import Run

LINK_BYTES_PER_S = 10e6
"""Layer splits are cut for equal hosts with the paper's network cards (§6.1): balanced work may send too much."""
CHECKED_IMAGES = 64


@dataclass(frozen=True)
class CellWork:
    """A cell with what its steps need.

    Args:
        folder: Where it lies.
        settings: How it is made.
        data: The application's images.
        progress: Told what is being done.
        again: Measure profiles that are there, too.
    """

    folder: CellFolder
    settings: DemandSettings
    data: Dataset
    progress: Progress
    again: bool = False

    def make(self, step: CellStep) -> StepDone:
        """Do a step, and write down what came of it; what a killed one left is gone on with.

        Raises:
            SplitPlaceError: As the verb that does it says.
        """
        started_s, percent = time.perf_counter(), {}
        if step.kind == "ratios":
            percent = self._percents()
        else:
            making: dict[str, Callable[[str], object]] = {
                "train": self._train,
                "export": self._export,
                "evaluate": self._evaluate,
                "profile": self._profile,
            }
            making[step.kind](step.what)
        digest = digest_of(percent) if percent else self.folder.found(step)
        if digest is None:
            raise SplitPlaceError(f"{self.folder.cell}, {step}: made, and not there: run the same command again")
        note = StepDone(
            step=str(step),
            digest=digest,
            of=self.folder.source(step),
            seconds=time.perf_counter() - started_s,
            commit=provenance.commit(),
            machine=_machine(),
            percent=percent,
        )
        self.folder.write(step, note)
        return note

    def _train(self, what: str) -> Run:
        out, common = self.folder.run(what), dict[str, Any](preset=self.settings.preset, seed=self.settings.seed)
        if what == FULL:
            return sp.train(self.data, model=self.folder.cell.model, out=out, **common)
        full = self.folder.run(FULL)
        if what == SPLITNET:
            by: dict[str, Any] = {"strategy": "semantic", "recipe": "splitnet", "tree": TREES["semantic-4"]}
        elif what in TREES:
            by = {"strategy": "semantic", "tree": TREES[what]}
        else:
            by = {"strategy": "compressed", "ratio": self.folder.percent(what.removeprefix("compressed-")) / 100}
        return sp.train(self.data, full=full, out=out, **by, **common)

    def _percents(self) -> dict[str, int]:
        cell = self.folder.cell
        numbers = load_preset(self.settings.preset).settle(cell.model, cell.application)
        found = choose_percents(self.data, cell.model, numbers, TREES["semantic-4"])
        assert set(found) == set(COMPRESSED)
        return found

    def _export(self, what: str) -> None:
        catalog, images = self.folder.catalog, self.data.x_test_NCHW[:CHECKED_IMAGES]
        if what.startswith("layer"):
            fragments = int(what.removeprefix("layer-"))
            cut = sp.split(
                f"{catalog}:{self.folder.reference(FULL)}",
                fragments=fragments,
                exactly=True,
                devices=equal_devices(fragments),
                micro_batch=self.settings.micro_batch,
                slack=0.0,  # analytic costs are the same everywhere, so the fragments, and with them their digests, are
                images=images,
            )
            sp.export(cut, catalog)
        elif what == ROOTS:
            tree = Run.open(self.folder.run(what.removesuffix("-roots"))).load()
            sp.export(to_onnx(replicate_trunk(tree), images), catalog)
        else:
            sp.export(self.folder.run(what), catalog, check_images=images)

    def _evaluate(self, what: str) -> None:
        location = f"{self.folder.catalog}:{self.folder.reference(what)}"
        sp.evaluate(location, data=self.data, threads=torch.get_num_threads(), progress=self.progress)

    def _profile(self, what: str) -> None:
        catalog = CatalogWriter(self.folder.catalog)
        profile_split(
            catalog, self.folder.reference(what), self.settings.effort, again=self.again, progress=self.progress
        )


def equal_devices(count: int) -> list[Device]:
    """Devices that differ in nothing, with the paper's network cards, and memory for whatever comes."""
    return [
        Device(
            name=f"d{i}",
            kind="equal",
            cores=1,
            core_speed=1.0,
            memory_bytes=2**40,
            disk_bytes=2**40,
            disk_bytes_per_s=1e9,
            up_bytes_per_s=LINK_BYTES_PER_S,
            down_bytes_per_s=LINK_BYTES_PER_S,
            rtt_s=0.0,
            power_w=(0.0,) * 11,
        )
        for i in range(count)
    ]


def _machine() -> str:
    """What to call this computer in a note: its GPU, where it has one, and its CPU."""
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([*gpu, provenance.machine().words])
