"""The page of a report: sections of text, tables and drawings in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from matplotlib.figure import Figure

from training.plots import to_svg

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5d6873; --line: #d9dee3; --page: #ffffff; --band:
#f4f6f8; } @media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --soft: #9aa5b0; --line: #333b44; --page: #14181c; --band: #1c2127; }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--ink);
       font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; padding-top: 1rem;
       border-top: 1px solid var(--line); }
p, figcaption, nav { max-width: 46rem; } figcaption, .soft { color: var(--soft); font-size: .9rem; }
nav a { color: inherit; margin-right: .9rem; white-space: nowrap; }
figure { margin: 1rem 0; overflow-x: auto; } svg { width: 100%; height: auto; max-width: 62rem; }
figure.small svg { max-width: 30rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { text-align: left; padding: .18rem .9rem .18rem 0; vertical-align: top;
       border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; } .scroll { overflow-x: auto; } summary { cursor: pointer; }
code { background: var(--band); padding: 0 .25rem; }
"""


@dataclass
class Section:
    """A part of the page with a heading."""

    title: str
    parts: list[str] = field(default_factory=list)

    def text(self, sentence: str) -> None:
        """A paragraph."""
        self.parts.append(f"<p>{escape(sentence)}</p>")

    def table(self, rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> None:
        """Rows of cells, the numbers among them to four digits."""
        top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_shown(cell))}</td>" for cell in row) + "</tr>" for row in rows
        )
        heading = f"<tr>{top}</tr>" if top else ""
        self.parts.append(f'<div class="scroll"><table>{heading}{body}</table></div>')

    def folded(self, summary: str, rows: Iterable[Sequence[object]]) -> None:
        """A table that opens on a click."""
        self.table(rows)
        self.parts[-1] = f"<details><summary>{escape(summary)}</summary>{self.parts[-1]}</details>"

    def figure(self, drawing: Figure, caption: str, *, small: bool = False) -> None:
        """A drawing with what to see in it."""
        name = f"{self.title}-{len(self.parts)}"
        svg = to_svg(drawing, name).replace("<svg", f'<svg role="img" aria-label="{escape(caption)}"', 1)
        kind = ' class="small"' if small else ""
        self.parts.append(f"<figure{kind}>{svg}<figcaption>{escape(caption)}</figcaption></figure>")


def page_of(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    links = "".join(f'<a href="#{_anchor(s.title)}">{escape(s.title)}</a>' for s in sections)
    body = "\n".join(
        f'<section id="{_anchor(s.title)}"><h2>{escape(s.title)}</h2>{"".join(s.parts)}</section>'
        for s in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p><nav>{links}</nav>\n{body}\n</body></html>\n'
    )


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def _shown(cell: object) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
