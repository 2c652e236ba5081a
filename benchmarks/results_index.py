"""An HTML page over all results: of each its command, its words, its picture and its files; beside RESULTS.md."""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from splitplace.benchmarks.results_page import CLAIMS, FOLDER, Claim, short

INDEX: Path = FOLDER / "index.html"
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}"
    "pre{background:#eee;padding:.4rem .6rem;overflow-x:auto}img{max-width:100%}"
    "section{border-top:1px solid #999;margin-top:1.5rem}"
)


def index(folder: Path = FOLDER) -> str:
    """The whole page; what was not run says so."""
    entries = [f'<li><a href="#{claim.file}">{escape(claim.title)}</a>{_state(claim, folder)}</li>' for claim in CLAIMS]
    sections = [line for claim in CLAIMS for line in _section(claim, folder)]
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>SplitPlace: results</title>',
        f"<style>{STYLE}</style></head><body>",
        '<h1>Results</h1><p>All tables are in <a href="../RESULTS.md">RESULTS.md</a>, how figures are measured in '
        '<a href="../METHODOLOGY.md">METHODOLOGY.md</a>.</p>',
    ]
    return "\n".join([*head, "<ul>", *entries, "</ul>", *sections, "</body></html>", ""])


def _state(claim: Claim, folder: Path) -> str:
    return "" if (folder / claim.file).is_file() else ": not run"


def _section(claim: Claim, folder: Path) -> Iterator[str]:
    yield f'<section id="{claim.file}"><h2>{escape(claim.title)}</h2><pre>{escape(claim.command)}</pre>'
    file = folder / claim.file
    if file.is_file():
        told = claim.tell(file.read_bytes(), file)
        yield "<ul>"
        yield from (f"<li>{escape(said)}: <b>{escape(word)}</b></li>" for said, word in told.verdict.items())
        yield "</ul>"
        beside = [path for ending in (".json", ".parquet", ".svg") if (path := file.with_suffix(ending)).is_file()]
        links = " · ".join(f'<a href="{path.name}">{path.name}</a>' for path in beside)
        yield f"<p>{links} · commit {escape(short(told.provenance.commit))} · {told.provenance.created[:10]}</p>"
        if (picture := file.with_suffix(".svg")).is_file():
            yield f'<img src="{picture.name}" alt="{escape(claim.title)}" loading="lazy">'
    else:
        yield "<p>Not run.</p>"
    yield "</section>"
