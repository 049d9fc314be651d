"""What an exercise is asked and what it gives, and how that is printed and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | float | int | None


@dataclass(frozen=True)
class Options:
    """What the command line asks of an exercise."""

    seed: int = 0
    seeds: int = 1
    """Runs over `seeds` seeds from `seed` on, where an exercise's table speaks of spread."""
    quick: bool = False
    """Much less data and training: everything is exercised, no figure is worth quoting."""
    out: Path = Path("runs")
    """The exercise's own folder, which exists."""
    data: Path | None = None
    """Data the user brings: a recording, a text, a data set."""
    test: Path | None = None
    """A test set of its own, where the exercise knows one."""
    say: Callable[[str], None] = print
    """Progress, one line each."""

    def all_seeds(self, name: str) -> range:
        """The seeds to run exercise `name` over; raises ConfigError where there cannot be any."""
        for flag, least, got in (("--seed", 0, self.seed), ("--seeds", 1, self.seeds)):
            if got < least:
                raise ConfigError(f"exercise {name}: {flag}: expected {least} or more, got {got}")
        return range(self.seed, self.seed + self.seeds)

    def refuse_test(self, name: str) -> None:
        """For an exercise that takes --data, but no --test."""
        if self.test is not None:
            raise ConfigError(f"exercise {name}: it has no use for --test, got {self.test}; leave it out")


@dataclass(frozen=True)
class Table:
    """A table of figures; None is printed as a dash, floats to four digits."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    note: str = ""


@dataclass(frozen=True)
class Result:
    """Everything an exercise found."""

    tables: list[Table]
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What a learner should take away, a paragraph each."""
    run: Path | None = None
    """Run folder of the best model, for `training export`."""


def text_of(table: Table) -> str:
    """The table in columns of text."""
    cells = [table.columns, *[tuple(_shown(cell) for cell in row) for row in table.rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    lines = [table.title, ""]
    for n, row in enumerate(cells):
        first, *rest = row
        padded = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]
        lines.append("  ".join(padded).rstrip())
        if n == 0:
            lines.append("  ".join("-" * w for w in widths))
    return "\n".join([*lines, *(["", table.note] if table.note else [])])


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def as_json(name: str, result: Result) -> dict[str, Any]:
    """The result for a program: tables as lists of objects."""
    return {
        "exercise": name,
        "tables": [
            {"title": t.title, "rows": [dict(zip(t.columns, row, strict=True)) for row in t.rows], "note": t.note}
            for t in result.tables
        ],
        "notes": result.notes,
        "run": str(result.run) if result.run else None,
    }


def keep(name: str, result: Result, folder: Path) -> None:
    """Write result.json, the tables as text, and every figure as PNG and PDF into `folder`."""
    try:
        (folder / "result.json").write_text(json.dumps(as_json(name, result), indent=2) + "\n")
        (folder / "tables.txt").write_text("\n\n\n".join(text_of(table) for table in result.tables) + "\n")
        for title, figure in result.figures.items():
            for kind in ("png", "pdf"):
                figure.savefig(folder / f"{title}.{kind}", dpi=120, bbox_inches="tight")
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written: {error.strerror}") from error
