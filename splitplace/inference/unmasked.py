"""Arrays that say of some of their values that they are none."""

import sys

from splitplace.errors import ContractError


def check_unmasked(what: str, value: object) -> None:
    """Refuse an array that says itself that some of its values are none: what lies behind the mask would be taken.

    Raises:
        ContractError: It does.
    """
    # NumPy loads this part when it is first asked for: where nobody has, nothing is masked, and a device that may open
    # no more files cannot load it.
    masked = sys.modules.get("numpy.ma")
    if masked is None or not isinstance(value, getattr(masked, "MaskedArray", ())) or not masked.is_masked(value):
        return
    gone_N = masked.getmaskarray(value)
    raise ContractError(
        f"{what}: {gone_N.sum()} of {gone_N.size} values are masked, expected all: fill them, as by .filled(0)"
    )
