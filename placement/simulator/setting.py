"""What a run happens on: single devices and costs, as a scenario has them."""

from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.demands import DemandLike, build
from splitplace.placement.simulator.scenario import Scenario
from splitplace.placement.simulator.shipped import units
from splitplace.records.device import Device, FleetSpec


def prepare(scenario: Scenario, fleet: FleetSpec, demand: DemandLike) -> tuple[tuple[Device, ...], Costs]:
    """The fleet's devices as constrained, and what the demand's splits cost on them.

    Raises:
        SplitPlaceError: No device is left whole, or an application with no split that fits, or inputs are to travel
            encoded and nobody says what that takes.
    """
    devices = units(scenario, fleet)
    swap_fraction = scenario.swap.fraction if scenario.swap else 0.0
    encoded = scenario.encoded if scenario.wire == "encoded" else None
    return devices, build(demand, devices, scenario.memory_claim_bytes, swap_fraction, encoded, scenario.threads)
