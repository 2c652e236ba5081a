"""What each input was answered, for people."""

from collections.abc import Sequence

from rich.table import Table

MOST_ROWS = 20


def answers_shown(
    title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]], files: Sequence[object], n: int
) -> Table:
    """A row an input, by its file where each has one, else by its number; of many, the first.

    Args:
        title: Above the table.
        columns: Of an answer.
        rows: Of the first inputs at least, the answer: a cell a column.
        files: That the inputs came from.
        n: How many inputs there were.
    """
    table = Table("input", *columns, title=title)
    for i, row in enumerate(rows[:MOST_ROWS]):
        table.add_row(str(files[i] if len(files) == n else i), *row)
    if n > MOST_ROWS:
        table.add_row("...", *("..." for _ in columns))
    return table
