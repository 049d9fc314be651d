"""Exercises run whole and quickly, what every one of them must give, and how they refuse."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

from click.testing import CliRunner

from training.cli import cli
from training.exercises.result import Options, Result, as_json, keep


def run_quickly(name: str, out: Path, **given: object) -> Result:
    out.mkdir(parents=True, exist_ok=True)
    options = Options(quick=True, out=out, say=lambda _: None, **given)  # type: ignore[arg-type]
    result: Result = importlib.import_module(f"training.exercises.{name.replace('-', '_')}").run(options)
    return result


def check(name: str, result: Result, out: Path) -> None:
    """Tables, figures and notes are there and can be kept."""
    assert result.tables
    for table in result.tables:
        assert table.rows, table.title
        assert len(set(table.columns)) == len(table.columns), table.title  # they are keys in JSON
        for row in table.rows:
            assert len(row) == len(table.columns), table.title
            assert all(math.isfinite(cell) for cell in row if isinstance(cell, float)), (table.title, row)
    assert result.notes
    keep(name, result, out)
    assert {path.suffix for path in out.iterdir()} >= {".png", ".pdf", ".json", ".txt"}
    for title in result.figures:
        assert (out / f"{title}.png").stat().st_size > 5000
        assert (out / f"{title}.pdf").stat().st_size > 2000
    assert as_json(name, result)["tables"]


def refusal(*arguments: str) -> str:
    """The one line with which `training exercise` refuses them."""
    told = CliRunner().invoke(cli, ["exercise", *arguments])
    assert told.exit_code == 2, told.output
    last = told.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last
