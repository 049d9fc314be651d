from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

import training.report_beats as beats_module
from monitor.core.errors import ConfigError
from tests.training.conftest import tiny
from training.cli import cli
from training.config import FitConfig
from training.datasets import Data, Series
from training.fit import fit
from training.plots import new_figure, style, thinned, to_svg
from training.report import MOST_BYTES, report
from training.report_page import Section, page_of
from training.runs import Outcome

ALWAYS = ["Summary", "Learning curves"]
CURVES = ["Confusion matrix", "Precision and recall", "ROC", "Calibration", "Threshold sweep", "Worst cases"]
FORECAST = ["Forecast against truth", "Error by horizon", "Interval coverage", "Worst cases"]


class Page(html.parser.HTMLParser):
    """What a browser would make of it: headings, drawings, and everything it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.fetched: list[str] = []
        self.drawings = 0
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        if tag in ("section", "figure", "table", "svg", "details", "h2", "g"):
            self._open.append(tag)
        self.drawings += tag == "svg"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "srcset") and not value.startswith("#"):
                self.fetched.append(value)

    def handle_endtag(self, tag):
        if self._open and tag in ("section", "figure", "table", "svg", "details", "h2", "g"):
            assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def read(path: Path) -> Page:
    """The page at `path`, checked for what holds of every report."""
    text = path.read_text()
    assert len(text.encode()) < MOST_BYTES
    page = Page(text)
    assert page.fetched == []
    assert not re.search(r"https?://|@import|url\((?!#)|<script", text)
    assert "prefers-color-scheme: dark" in text
    assert "#010203" not in text  # the ink has become the page's own
    assert "nan" not in re.findall(r'd="([^"]*)"', text)
    return page


def test_a_forecaster(tmp_path: Path) -> None:
    run = fit(tiny("forecast"), None, tmp_path)
    path = report(run)
    assert path == run / "report.html"
    page = read(path)
    assert page.headings == [*ALWAYS, *FORECAST]
    assert page.drawings == 5
    text = path.read_text()
    for name in ("model", "persistence", "season", "AR(12)", "learning rate", "model.hidden"):
        assert name in text


def test_a_classifier(tmp_path: Path) -> None:
    run = fit(tiny("classify"), None, tmp_path)
    page = read(report(run, out=tmp_path / "mine.html"))
    assert page.headings == [*ALWAYS, *CURVES]
    assert "false alarms an hour" in (tmp_path / "mine.html").read_text()
    assert not (run / "report.html").exists()


def test_symbols(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 60)
    result = CliRunner().invoke(
        cli, ["fit", "--symbols", str(tmp_path / "text.txt"), "--epochs", "1", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    run = Path(result.stdout.strip())
    page = read(report(run))
    assert page.headings == [*ALWAYS, *CURVES]
    assert "surprise" in (run / "report.html").read_text()


def test_beats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in for the network: a heat map that finds most beats, and probabilities that are mostly right."""
    random = np.random.default_rng(0)
    rate_hz, steps = 72.0, 7200
    at = np.arange(100, 3 * steps - 100, 60)
    kinds = random.choice(4, len(at), p=[0.7, 0.1, 0.15, 0.05])
    series = Series("x", random.standard_normal((3 * steps, 1)).astype(np.float32), at, kinds)
    heat = 0.05 * random.random(steps).astype(np.float32)
    likely = np.full((steps, 4), 0.1, np.float32)
    for place, kind in zip(at, kinds, strict=True):
        step = place // 3
        heat[step] = random.uniform(0.05, 1)
        likely[step - 1 : step + 2, kind if random.random() < 0.9 else 0] = 0.7
    heat[50] = 0.9  # a beat where there is none
    monkeypatch.setattr(beats_module, "run_beats", lambda *_: (heat, likely, 3.0 * np.arange(steps) + 1))
    shape = {"classes": ["N", "S", "V", "F"], "hop": 1}
    config = msgspec.convert(
        {"name": "b", "task": "beats", "data": {"source": "simulated"}, "model": shape}, FitConfig
    )
    data = Data({"test": [series]}, rate_hz, 1, "mV", "", ("N", "S", "V", "F"))
    outcome = msgspec.convert(
        {
            "seed": 0, "data": {"name": "x"}, "rate_hz": rate_hz, "channels": 1, "unit": "mV",
            "thresholds": {"V": 0.5}, "beat_level": 0.3, "metrics": {}, "best_epoch": 1, "epochs": 1,
            "seconds": 1.0, "device": "cpu", "torch": "", "code": "", "commit": "",
        },
        Outcome,
    )  # fmt: skip
    with style():
        sections = beats_module.beat_sections(None, config, data, outcome)  # type: ignore[arg-type]
        (tmp_path / "b.html").write_text(page_of("b", "", sections))
    page = read(tmp_path / "b.html")
    assert page.headings == [*CURVES[:5], "Finding beats", "Worst cases"]
    assert page.drawings == 7


def test_a_run_without_learning_rates_says_so(tmp_path: Path) -> None:
    run = fit(tiny("forecast"), None, tmp_path)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["learning_rate"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "did not write its learning rate down" in report(run).read_text()


def test_a_run_that_an_exercise_kept_has_no_epochs(tmp_path: Path) -> None:
    run = fit(tiny("forecast"), None, tmp_path)
    (run / "metrics.jsonl").write_text('{"epoch": 8, "seconds": 1.0, "mse": 0.1}\n')
    assert "No epoch was written down" in report(run).read_text()


def test_the_verb_and_what_it_refuses(tmp_path: Path) -> None:
    run = fit(tiny("forecast"), None, tmp_path)
    result = CliRunner().invoke(cli, ["report", str(run), "--out", str(tmp_path / "r.html")])
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "r.html"))
    assert (tmp_path / "r.html").stat().st_size > 10_000
    for arguments, says in (
        ([str(tmp_path / "nothing")], "expected a finished run"),
        ([str(run), "--out", str(tmp_path / "no" / "r.html")], "cannot be written"),
    ):
        refused = CliRunner().invoke(cli, ["report", *arguments])
        assert refused.exit_code == 2
        (line,) = refused.stderr.strip().splitlines()
        assert says in line
    (run / "metrics.jsonl").write_text("not json\n")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl"):
        report(run)


def test_drawings_keep_their_references_apart() -> None:
    with style():
        drawings = []
        for name in ("a", "b"):
            figure, (axes,) = new_figure()
            axes.plot([0, 1], [0, 0.00123], "o")
            drawings.append(to_svg(figure, name))
    used = [set(re.findall(r'(?:href="|url\()#([^")]+)', drawing)) for drawing in drawings]
    assert all(used)
    assert not used[0] & used[1]
    assert "0.0012" in drawings[0]  # numbers that are read are not rounded away


def test_a_thinned_curve_looks_the_same() -> None:
    x = np.linspace(0, 1, 100_000)
    y = (x > 0.4) * 0.9 + 0.05
    few_x, few_y = thinned(x, y)
    assert len(few_x) < 2000
    assert np.abs(np.interp(x, few_x, few_y) - y).mean() < 1e-3
    assert (few_x[0], few_x[-1]) == (0, 1)


def test_text_is_not_markup() -> None:
    section = Section("A & B")
    section.text("<b>")
    section.table([("<i>", 1.23456)], ("<u>",))
    page = page_of("<title>", "", [section])
    assert "<b>" not in page
    assert "<i>" not in page
    assert "1.235" in page
