"""All the exercises at once, and what each of them refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from tests.training.exercising import refusal
from training.cli import cli
from training.exercises import EXERCISES
from training.exercises.result import Options, Result


@pytest.mark.parametrize(
    ("words", "missing"),
    [([], {"imdb"}), (["--data", "reviews.npz", "--test", "more.npz"], set()), (["--quick"], set())],
)
def test_all_of_them_run_and_imdb_where_there_are_reviews(
    words: list[str], missing: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: dict[str, Options] = {}

    def stand_in(name: str) -> ModuleType:
        module = ModuleType(name)
        module.run = lambda options: (ran.update({name: options}), Result([]))[1]  # type: ignore[attr-defined]
        return module

    for name in EXERCISES:
        monkeypatch.setitem(sys.modules, f"training.exercises.{name.replace('-', '_')}", stand_in(name))
    told = CliRunner().invoke(cli, ["exercise", "all", *words, "--json", "--out", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert set(EXERCISES) - set(ran) == missing
    assert [one["exercise"] for one in json.loads(told.stdout)] == list(ran)
    lines = told.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == sorted(missing)
    for name, options in ran.items():  # what is given is for imdb: the others would not know what to do with it
        assert (options.data is not None) == ("--data" in words and name == "imdb")
        assert (options.test is not None) == ("--data" in words and name == "imdb")


@pytest.mark.parametrize("name", ["imdb", "char-rnn", "biomed-pipeline"])
def test_what_makes_no_sense_is_one_clear_line(name: str, tmp_path: Path) -> None:
    out = ("--quick", "--out", str(tmp_path))
    assert "--seed: expected 0 or more, got -1" in refusal(name, *out, "--seed", "-1")
    if name != "imdb":
        assert "no use for --test, got x.npz" in refusal(name, *out, "--test", "x.npz")
