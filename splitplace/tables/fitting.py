"""Tables as they can be read at any width."""

from rich.console import Console, Group, RenderableType
from rich.measure import measure_renderables
from rich.table import Table


def fitting(people: RenderableType, console: Console) -> RenderableType:
    """Tables as they can be read at this width: a word is broken, or a cell cut off, in none.

    What is too wide loses its rules, and else is told as psql's expanded display has it: a line a cell, an empty one
    between rows.
    """
    if isinstance(people, Group):
        return Group(*(fitting(part, console) for part in people.renderables))
    if not isinstance(people, Table):
        return people
    for column in people.columns:
        column.overflow = "fold"
    ranges = [
        measure_renderables(console, console.options.update(width=10_000), [column.header, *column.cells])
        for column in people.columns
    ]
    least, most = sum(range.minimum for range in ranges), sum(range.maximum for range in ranges)
    rules, gaps = 3 * len(ranges) + 1, len(ranges)
    if most + rules <= console.width:
        return people
    if least + gaps > console.width:
        return _row_by_row(people)
    if least + rules > console.width:
        people.box, people.padding, people.pad_edge = None, (0, 1, 0, 0), False
        rules = gaps
    spare = console.width - rules - least
    for column, range in zip(people.columns, ranges, strict=True):  # rich itself breaks words though there is room
        gain = min(spare * range.span // (most - least), range.span) if most > least else 0
        column.width = range.minimum + gain
    return people


def _row_by_row(table: Table) -> Group:
    rows = Table(box=None, show_header=False, pad_edge=False)
    rows.add_column(overflow="fold", style="bold")
    rows.add_column(overflow="fold")
    for i, cells in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if i:
            rows.add_row()
        for column, cell in zip(table.columns, cells, strict=True):
            rows.add_row(column.header, cell)
    return Group(*(part for part in (table.title, rows, table.caption) if part is not None))
