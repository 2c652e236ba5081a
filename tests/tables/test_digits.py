"""Numbers as people read them."""

import pytest

from splitplace.tables.digits import mebibytes, number

pytestmark = pytest.mark.base


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (1.2e-5, "0.0000120"),
        (-9.996e-7, "-0.00000100"),
        (1.2345e-3, "0.00123"),
        (0.5, "0.500"),
        (99.96, "100"),
        (999.7, "1000"),
        (1912.4, "1912"),
    ],
)
def test_a_number_has_three_digits_and_no_exponent(value: float | None, text: str) -> None:
    """However small a response is it is not 0, and a rate is not 1.91e+03."""
    assert number(value) == text


def test_sizes_are_in_mebibytes() -> None:
    """Of 2 ** 20 bytes."""
    assert mebibytes(3 * 2**19) == "1.50 MiB"
