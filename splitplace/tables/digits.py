"""Numbers as people read them."""

from decimal import Decimal


def number(value: float | None, digits: int = 3) -> str:
    """So many digits of a small number, all before the point of a large one, and no exponent."""
    if value is None:
        return "-"
    large = abs(value) >= 10**digits - 0.5
    return f"{value:.0f}" if large or not value else f"{Decimal(f'{value:.{digits - 1}e}'):f}"


def mebibytes(size_bytes: float) -> str:
    """A size in MiB."""
    return f"{size_bytes / 2**20:.2f} MiB"
