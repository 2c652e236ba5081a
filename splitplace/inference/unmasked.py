"""Arrays that say of some of their values that they are none."""

import numpy as np

from splitplace.errors import ContractError


def check_unmasked(what: str, value: object) -> None:
    """Refuse an array that says itself that some of its values are none: what lies behind the mask would be taken.

    Raises:
        ContractError: It does.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        count = int(np.ma.getmaskarray(value).sum())
        raise ContractError(
            f"{what}: {count} of {value.size} values are masked, expected all: fill them, as by .filled(0)"
        )
