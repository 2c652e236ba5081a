"""SplitPlace: split CNNs by layer or by meaning, ship the fragments, place them on edge devices by deadline.

    import splitplace as sp

    run = sp.train("fashionmnist", epochs=1)
    whole = sp.export(run, "catalog")
    chain = sp.export(sp.split(run, fragments=3), "catalog")
    sp.profile("catalog", quick=True)
    print(sp.simulate("layer+least-loaded", demand="catalog").metrics.reward)

Everything in `__all__` is imported when it is first touched: `import splitplace` loads neither torch nor onnx nor
onnxruntime, and on a device without them the rest works.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

# onnxruntime's wheels collect paths, graph names and errors for upload unless told not to before they are loaded. Every
# module of ours imports this package first, so no process has onnxruntime in it without this.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# torch's threads wait for each other by spinning, for milliseconds unless told: two trainings on two cores then spin
# away each other's turns (measured: ten times slower each). This much costs one alone 5 % and keeps two within 1.5 of
# their share. It is read when torch is loaded; whoever has set how to wait keeps that.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

PUBLIC = {
    name: f"splitplace.{module}"
    for module, names in {
        # verbs
        "api.fetch": ["fetch"],
        "api.train": ["train"],
        "api.split": ["split"],
        "api.export": ["export", "Exported"],
        "api.profile": ["profile"],
        "export.measure.fit": ["held_out"],
        "api.evaluate": ["evaluate"],
        "api.infer": ["infer", "Inference"],
        "api.build_images": ["build_images", "BuiltImages"],
        "export.oci_image.image_writer": ["BuiltImage", "ImageLayer"],
        "api.demand": ["demand", "load_demand"],
        "api.push": ["push"],
        "api.pull": ["pull", "Pulled"],
        "api.simulate": ["simulate"],
        "api.simulation": ["Simulation"],
        "api.mobility_trace": ["mobility_trace"],
        "api.advise": ["advise"],
        "api.policy": ["train_policy"],
        "api.start_fleet": ["start_fleet"],
        "api.fleet": ["Fleet"],
        "api.fleet_history": ["fleet_history"],
        "api.join_fleet": ["join_fleet"],
        "api.front_door": ["FrontDoor"],
        "placement.http.tokens": ["add_token", "read_tokens", "revoke_token", "TokenEntry", "TokenFile"],
        "placement.learning.show": ["saved_states", "SavedState"],
        # what they take and give
        "catalog": ["Catalog"],
        "export.catalog_writer": ["CatalogWriter"],
        "catalog.variants": ["Variant"],
        "distribution.push": ["PushedSplit"],
        "distribution.pull": ["PulledSplit"],
        "distribution.reference": ["RemoteReference"],
        "training.data.dataset": ["Dataset"],
        "training.preset": ["Preset", "load_preset"],
        "training.run": ["Run"],
        "training.recipes.compressed": ["Picked"],
        "splitting.artifact": ["SplitArtifact"],
        "splitting.layerwise.layer_split": ["LayerSplit", "PlannedFragment"],
        "progress": ["Progress"],
        # policies, and where they run
        "placement.registry": ["parse_policy"],
        "placement.policy": [
            "Policy",
            "Composed",
            "Frozen",
            "States",
            "Decider",
            "Placer",
            "PlacementRequest",
            "Feedback",
            "Leaving",
            "Taken",
            "Placed",
        ],
        "placement.learner": ["Learner", "Traces", "Taught", "Recipe", "Fit"],
        "placement.state_files": ["Packed"],
        "placement.plan": ["plan", "check_actions"],
        "placement.room": ["Room"],
        "placement.advice.advice": ["Advice", "Prospect"],
        "placement.advice.trial": ["Estimate"],
        "placement.advice.breaking": ["Break"],
        "placement.advice.memory_limits": ["MemoryLimit", "SplitMemory"],
        "placement.simulator.scenario": [
            *("Scenario", "Workload", "Phase", "NetworkShift", "DeviceEvent", "Failures", "Swap", "Constrain"),
        ],
        "placement.simulator.shipped": ["load_scenario", "load_fleet"],
        "placement.broker.broker": ["Broker"],
        "placement.engines.local": ["LocalEngine"],
        "placement.engines.podman": ["PodmanEngine"],
        "placement.outcome": ["TaskFuture", "TaskOutcome", "TaskResult"],
        "placement.serve.client": ["Client"],
        "placement.serve.async_client": ["AsyncClient"],
        "placement.remote.remote_client": ["RemoteClient"],
        "placement.remote.async_remote_client": ["AsyncRemoteClient"],
        # records
        "records.action": ["Action", "Decide", "Place", "Migrate", "Wait", "Evict"],
        "records.demand": ["Demand", "SplitDemand"],
        "records.device": ["Device", "FleetSpec"],
        "records.evaluation": ["Evaluation"],
        "records.fleet_status": ["FleetStatus", "PolicyEstimate"],
        "records.fragment": ["Fragment", "TensorSpec"],
        "records.metrics": ["Metrics"],
        "records.preprocessing": ["Preprocessing", "ImageRule"],
        "records.profile": ["Profile", "DeviceFingerprint"],
        "records.provenance": ["Provenance"],
        "records.split": ["Split", "Edge", "Merge"],
        "records.task": ["Task"],
        "records.view": ["View"],
        # errors, by cause
        "errors": [
            "SplitPlaceError",
            "UsageError",
            "NotFoundError",
            "MissingExtraError",
            "ContractError",
            "NotReadyError",
            "OverloadedError",
            "PolicyError",
            "IntegrityError",
            "InfeasibleError",
            "ConflictError",
            "UnansweredError",
            "UnknownCallerError",
            "ForbiddenError",
            "TooLargeError",
            "TooSlowError",
        ],
    }.items()
    for name in names
}
"""Public name -> the module that holds it; tests/api/test_public.py holds the imports below against it."""

if TYPE_CHECKING:
    from splitplace.api.advise import advise as advise
    from splitplace.api.build_images import BuiltImages as BuiltImages
    from splitplace.api.build_images import build_images as build_images
    from splitplace.api.demand import demand as demand
    from splitplace.api.demand import load_demand as load_demand
    from splitplace.api.evaluate import evaluate as evaluate
    from splitplace.api.export import Exported as Exported
    from splitplace.api.export import export as export
    from splitplace.api.fetch import fetch as fetch
    from splitplace.api.fleet import Fleet as Fleet
    from splitplace.api.fleet_history import fleet_history as fleet_history
    from splitplace.api.front_door import FrontDoor as FrontDoor
    from splitplace.api.infer import Inference as Inference
    from splitplace.api.infer import infer as infer
    from splitplace.api.join_fleet import join_fleet as join_fleet
    from splitplace.api.mobility_trace import mobility_trace as mobility_trace
    from splitplace.api.policy import train_policy as train_policy
    from splitplace.api.profile import profile as profile
    from splitplace.api.pull import Pulled as Pulled
    from splitplace.api.pull import pull as pull
    from splitplace.api.push import push as push
    from splitplace.api.simulate import simulate as simulate
    from splitplace.api.simulation import Simulation as Simulation
    from splitplace.api.split import split as split
    from splitplace.api.start_fleet import start_fleet as start_fleet
    from splitplace.api.train import train as train
    from splitplace.catalog import Catalog as Catalog
    from splitplace.catalog.variants import Variant as Variant
    from splitplace.distribution.pull import PulledSplit as PulledSplit
    from splitplace.distribution.push import PushedSplit as PushedSplit
    from splitplace.distribution.reference import RemoteReference as RemoteReference
    from splitplace.errors import ConflictError as ConflictError
    from splitplace.errors import ContractError as ContractError
    from splitplace.errors import ForbiddenError as ForbiddenError
    from splitplace.errors import InfeasibleError as InfeasibleError
    from splitplace.errors import IntegrityError as IntegrityError
    from splitplace.errors import MissingExtraError as MissingExtraError
    from splitplace.errors import NotFoundError as NotFoundError
    from splitplace.errors import NotReadyError as NotReadyError
    from splitplace.errors import OverloadedError as OverloadedError
    from splitplace.errors import PolicyError as PolicyError
    from splitplace.errors import SplitPlaceError as SplitPlaceError
    from splitplace.errors import TooLargeError as TooLargeError
    from splitplace.errors import TooSlowError as TooSlowError
    from splitplace.errors import UnansweredError as UnansweredError
    from splitplace.errors import UnknownCallerError as UnknownCallerError
    from splitplace.errors import UsageError as UsageError
    from splitplace.export.catalog_writer import CatalogWriter as CatalogWriter
    from splitplace.export.measure.fit import held_out as held_out
    from splitplace.export.oci_image.image_writer import BuiltImage as BuiltImage
    from splitplace.export.oci_image.image_writer import ImageLayer as ImageLayer
    from splitplace.placement.advice.advice import Advice as Advice
    from splitplace.placement.advice.advice import Prospect as Prospect
    from splitplace.placement.advice.breaking import Break as Break
    from splitplace.placement.advice.memory_limits import MemoryLimit as MemoryLimit
    from splitplace.placement.advice.memory_limits import SplitMemory as SplitMemory
    from splitplace.placement.advice.trial import Estimate as Estimate
    from splitplace.placement.broker.broker import Broker as Broker
    from splitplace.placement.engines.local import LocalEngine as LocalEngine
    from splitplace.placement.engines.podman import PodmanEngine as PodmanEngine
    from splitplace.placement.http.tokens import TokenEntry as TokenEntry
    from splitplace.placement.http.tokens import TokenFile as TokenFile
    from splitplace.placement.http.tokens import add_token as add_token
    from splitplace.placement.http.tokens import read_tokens as read_tokens
    from splitplace.placement.http.tokens import revoke_token as revoke_token
    from splitplace.placement.learner import Fit as Fit
    from splitplace.placement.learner import Learner as Learner
    from splitplace.placement.learner import Recipe as Recipe
    from splitplace.placement.learner import Taught as Taught
    from splitplace.placement.learner import Traces as Traces
    from splitplace.placement.learning.show import SavedState as SavedState
    from splitplace.placement.learning.show import saved_states as saved_states
    from splitplace.placement.outcome import TaskFuture as TaskFuture
    from splitplace.placement.outcome import TaskOutcome as TaskOutcome
    from splitplace.placement.outcome import TaskResult as TaskResult
    from splitplace.placement.plan import check_actions as check_actions
    from splitplace.placement.plan import plan as plan
    from splitplace.placement.policy import Composed as Composed
    from splitplace.placement.policy import Decider as Decider
    from splitplace.placement.policy import Feedback as Feedback
    from splitplace.placement.policy import Frozen as Frozen
    from splitplace.placement.policy import Leaving as Leaving
    from splitplace.placement.policy import Placed as Placed
    from splitplace.placement.policy import PlacementRequest as PlacementRequest
    from splitplace.placement.policy import Placer as Placer
    from splitplace.placement.policy import Policy as Policy
    from splitplace.placement.policy import States as States
    from splitplace.placement.policy import Taken as Taken
    from splitplace.placement.registry import parse_policy as parse_policy
    from splitplace.placement.remote.async_remote_client import AsyncRemoteClient as AsyncRemoteClient
    from splitplace.placement.remote.remote_client import RemoteClient as RemoteClient
    from splitplace.placement.room import Room as Room
    from splitplace.placement.serve.async_client import AsyncClient as AsyncClient
    from splitplace.placement.serve.client import Client as Client
    from splitplace.placement.simulator.scenario import Constrain as Constrain
    from splitplace.placement.simulator.scenario import DeviceEvent as DeviceEvent
    from splitplace.placement.simulator.scenario import Failures as Failures
    from splitplace.placement.simulator.scenario import NetworkShift as NetworkShift
    from splitplace.placement.simulator.scenario import Phase as Phase
    from splitplace.placement.simulator.scenario import Scenario as Scenario
    from splitplace.placement.simulator.scenario import Swap as Swap
    from splitplace.placement.simulator.scenario import Workload as Workload
    from splitplace.placement.simulator.shipped import load_fleet as load_fleet
    from splitplace.placement.simulator.shipped import load_scenario as load_scenario
    from splitplace.placement.state_files import Packed as Packed
    from splitplace.progress import Progress as Progress
    from splitplace.records.action import Action as Action
    from splitplace.records.action import Decide as Decide
    from splitplace.records.action import Evict as Evict
    from splitplace.records.action import Migrate as Migrate
    from splitplace.records.action import Place as Place
    from splitplace.records.action import Wait as Wait
    from splitplace.records.demand import Demand as Demand
    from splitplace.records.demand import SplitDemand as SplitDemand
    from splitplace.records.device import Device as Device
    from splitplace.records.device import FleetSpec as FleetSpec
    from splitplace.records.evaluation import Evaluation as Evaluation
    from splitplace.records.fleet_status import FleetStatus as FleetStatus
    from splitplace.records.fleet_status import PolicyEstimate as PolicyEstimate
    from splitplace.records.fragment import Fragment as Fragment
    from splitplace.records.fragment import TensorSpec as TensorSpec
    from splitplace.records.metrics import Metrics as Metrics
    from splitplace.records.preprocessing import ImageRule as ImageRule
    from splitplace.records.preprocessing import Preprocessing as Preprocessing
    from splitplace.records.profile import DeviceFingerprint as DeviceFingerprint
    from splitplace.records.profile import Profile as Profile
    from splitplace.records.provenance import Provenance as Provenance
    from splitplace.records.split import Edge as Edge
    from splitplace.records.split import Merge as Merge
    from splitplace.records.split import Split as Split
    from splitplace.records.task import Task as Task
    from splitplace.records.view import View as View
    from splitplace.splitting.artifact import SplitArtifact as SplitArtifact
    from splitplace.splitting.layerwise.layer_split import LayerSplit as LayerSplit
    from splitplace.splitting.layerwise.layer_split import PlannedFragment as PlannedFragment
    from splitplace.training.data.dataset import Dataset as Dataset
    from splitplace.training.preset import Preset as Preset
    from splitplace.training.preset import load_preset as load_preset
    from splitplace.training.recipes.compressed import Picked as Picked
    from splitplace.training.run import Run as Run

    __version__: str

__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first touched (PEP 562), and keep it."""
    if name == "__version__":
        from importlib.metadata import version

        found: Any = version("splitplace")
    elif name in PUBLIC:
        found = getattr(import_module(PUBLIC[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """This package. The import system sets every submodule as an attribute; the room `export` must not hide a verb."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
