"""One self-contained HTML page: headings, paragraphs, tables and pictures, nothing fetched from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """Rows under column names; cells are shown as text."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Section:
    """A heading, what to know, and then a table or a picture or both."""

    heading: str
    text: str = ""
    table: Table | None = None
    svg: str = ""
    """Trusted: drawn by us."""


def render(title: str, sections: Sequence[Section], facts: Mapping[str, str]) -> str:
    """The page as text; every cell and sentence is escaped.

    Args:
        title: Of the page.
        sections: In order.
        facts: What stands in the footer: commit, machine, versions, seed.
    """
    environment = Environment(
        loader=PackageLoader("splitplace.report", "."), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("page.jinja")
    shown = [(section, Markup(section.svg)) for section in sections]  # noqa: S704 - our own drawing, see Section.svg
    return template.render(title=title, sections=shown, facts=facts)
