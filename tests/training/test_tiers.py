"""A beat model of two tiers: from records to a file that the monitor loads."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from monitor.core.errors import ConfigError, ModelError
from monitor.core.rhythm import FEATURES, GROUPS
from monitor.inference import load_model
from monitor.recordings import read_recording
from training.cli import cli
from training.config import FitConfig, RecordsData, load_config
from training.export import export
from training.judged import drive
from training.leads import hear_both
from training.models import build_model
from training.patients import VIEWS, hear_others, read_patients
from training.records import read_leads
from training.second import Candidates, SecondTier, ask, fit_second
from training.shape import SecondShape
from training.tiers import fit_tiers

wfdb = pytest.importorskip("wfdb")

CLASSES = ("N", "S", "V", "F")
NAMES = ("one", "two", "three", "four")


def write_record(folder: Path, name: str, seed: int) -> None:
    """Two minutes of narrow beats, every seventh of them early and wide; two leads."""
    random = np.random.default_rng(seed)
    gaps = random.normal(0.8, 0.02, 150)
    gaps[6::7] = 0.5
    at = np.rint(np.cumsum(gaps) * 360).astype(int)
    kinds = np.array(["N"] * 150)
    kinds[6::7] = "V"
    time = np.arange(at[-1] + 500)
    values = 0.02 * random.standard_normal((len(time), 2))
    for place, kind in zip(at, kinds, strict=True):
        width = 20 if kind == "V" else 7
        near = slice(place - 100, place + 100)
        beat = np.exp(-0.5 * ((time[near] - place) / width) ** 2) * (1.6 if kind == "V" else 1.0)
        values[near] += beat[:, None] * [1.0, 0.6]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb's quarrels with pandas
        wfdb.wrsamp(name, 360, ["mV"] * 2, ["MLII", "V1"], values, fmt=["16"] * 2, write_dir=str(folder))
        wfdb.wrann(name, "atr", at, symbol=kinds.tolist(), write_dir=str(folder))


def write_noise(folder: Path) -> None:
    """Half a minute and more of noise that is not white, on two leads."""
    values = np.cumsum(np.random.default_rng(9).standard_normal((15_000, 2)), axis=0)
    values -= np.linspace(0, 1, len(values))[:, None] * values[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp("hum", 360, ["mV"] * 2, ["a", "b"], values, fmt=["16"] * 2, write_dir=str(folder))


def configured(**changes: Any) -> FitConfig:
    tree: dict[str, Any] = {
        "name": "tiny-beats",
        "task": "beats",
        "data": {"source": "records", "name": "made up", "licence": "", "folder": "db", "copies": 1,
                 "noise": ["db/hum"], "noise_db": [15.0, 25.0], "folds": [NAMES[:2], NAMES[2:]]},
        "conditioning": {"high_pass_hz": 0.5, "low_pass_hz": 28.0, "gain": "running-range"},
        "model": {"hidden": 12, "rate_hz": 72.0, "samples_per_step": 3, "hop": 1, "delay": 8, "classes": CLASSES},
        "train": {"epochs": 10, "epoch_windows": 1000, "hop": 3, "learning_rate": 1e-2, "rare_share": 0.5,
                  "class_weights": [1.0, 1.0, 1.0, 1.0]},
        "second": {"hidden": 8, "window": 12, "hop": 4, "epochs": 40, "batch": 32},
    }  # fmt: skip
    return msgspec.convert(tree | changes, FitConfig)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tiers on four records beside it, in db/."""
    folder = tmp_path_factory.mktemp("tiers")
    (folder / "db").mkdir()
    for i, name in enumerate(NAMES):
        write_record(folder / "db", name, i)
    write_noise(folder / "db")
    return fit_tiers(configured(), folder, folder, quiet=True)


def test_from_records_to_a_file_that_the_monitor_loads(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    file = export(run, tmp_path / "tiny-beats.onnx", said.append)
    assert sum("second tier" in line for line in said) == 3  # batch 1, 3 and 64 proven
    card = load_model(file).card
    assert card.second is not None
    assert (card.second.window, card.second.hidden) == (12, 8)
    assert card.source.train == "records one two three four"
    # Of patients that both tiers had not seen when they were asked.
    assert card.metrics["beat_f1"] > 0.95
    assert card.metrics["V_f1"] > 0.9
    both = load_model(export(run, tmp_path / "both.onnx", said.append, hears_both=True))
    assert (both.card.name, both.card.channels) == ("tiny-beats-2", 2)
    assert both.card.metrics["beat_f1"] > 0.95
    assert both.card.source.validation == card.source.validation
    recording = read_recording(run.parent / "db" / "one")
    for leapfrog in (False, True):
        [judged] = drive(both, [recording], lead="MLII", leapfrog=leapfrog)
        told = np.array([beat.t_ns / 1e9 for _, beat in judged.beats])
        assert len(told) > 140
        assert all(np.abs(recording.label_samples / 360 - at).min() < 0.05 for at in told)
    content = file.read_bytes()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(content.replace(b"foretrace.second", b"foretrace.secend"))
    with pytest.raises(ModelError, match="second tier"):
        load_model(broken)


def test_two_leads_are_heard_by_one_network_side_by_side() -> None:
    torch.manual_seed(0)
    one = build_model(configured(), 1).eval()
    both = hear_both(one)
    windows = torch.randn(5, 150, 2)
    with torch.no_grad():
        first, second, told = (model.outputs(x) for model, x in (
            (one, windows[..., :1]), (one, windows[..., 1:]), (both, windows)))  # fmt: skip
    assert torch.allclose(told["beat"], first["beat"], atol=1e-6)
    odds = (first["probabilities"].log() + second["probabilities"].log()) / 2
    assert torch.allclose(told["probabilities"], torch.softmax(odds, dim=-1), atol=1e-6)
    with torch.no_grad():  # of one lead heard twice it says what the model of one says of it
        twice = both.outputs(windows[..., [1, 1]])
    assert all(torch.allclose(twice[name], second[name], atol=1e-6) for name in second)
    with pytest.raises(ConfigError, match="of one lead that finds beats; got tiny-beats-2"):
        hear_both(both)


def test_folds_belong_to_two_tiers_and_each_record_to_one_fold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each record in one of them"):
        fit_tiers(
            configured(data=msgspec.to_builtins(configured().data) | {"folds": [["one"], ["one", "two"]]}),
            tmp_path,
            tmp_path,
            quiet=True,
        )
    config = tmp_path / "beats.toml"
    data = 'source = "records"\nname = "x"\nlicence = ""\nfolder = "db"'
    rest = '[model]\nclasses = ["N", "V"]\nrate_hz = 72.0\n[second]\nclass_weights = [1.0, 1.0, 1.0]'
    config.write_text(f'name = "x"\ntask = "beats"\n[data]\n{data}\n{rest}\n')
    with pytest.raises(ConfigError, match=r"data\.folds"):
        load_config(config)


def candidates(kinds: list[int], missed: tuple[int, ...] = (0, 0, 0, 0), seed: int = 0) -> Candidates:
    """Rows whose first numbers say what they are."""
    rows = np.random.default_rng(seed).standard_normal((len(kinds), FEATURES)).astype(np.float32)
    rows[np.arange(len(kinds)), np.maximum(kinds, 0)] += 6
    return Candidates(rows, np.array(kinds), np.array(missed), noisy=False)


def test_the_second_tier_learns_what_its_rows_say() -> None:
    random = np.random.default_rng(0)
    shape = SecondShape(window=8, hidden=16, hop=4, epochs=40, batch=64)
    tier = fit_second([candidates(random.integers(0, 5, 400).tolist(), seed=i) for i in range(4)], shape, 4, 0)
    other = candidates(random.integers(0, 5, 200).tolist(), seed=9)
    said = ask(tier, other.rows)
    np.testing.assert_allclose(np.exp(said).sum(axis=1), 1)
    assert (said.argmax(axis=1) == other.kinds).mean() > 0.9


def test_what_is_always_hidden_is_not_learned_from() -> None:
    random = np.random.default_rng(0)
    shape = SecondShape(window=8, hidden=16, hop=4, epochs=2, batch=64, hidden_groups={"sizes": 1.0})
    tier = fit_second([candidates(random.integers(0, 5, 400).tolist())], shape, 4, 0)
    torch.manual_seed(0)
    moved = tier.inward.weight / SecondTier(shape, 4).inward.weight
    hidden = moved[:, GROUPS["sizes"]]
    assert hidden.std() < 1e-4  # no gradient: weight decay alone
    assert moved[:, GROUPS["looks"]].std() > 0.01
    with pytest.raises(ConfigError, match=r"second\.hidden_groups.*intervals, .* sizes; got 'colour'"):
        fit_second([], SecondShape(hidden_groups={"colour": 0.5}), 4, 0)


def test_patients_left_out_are_judged_on_every_lead_quiet_and_noisy(run: Path) -> None:
    done = CliRunner().invoke(cli, ["patients", str(run), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert set(told["views"]) == set(VIEWS)
    assert set(told["records"]) == set(NAMES)
    annotated = {view["beat"]["hit"] + view["beat"]["missed"] for view in told["views"].values()}
    assert len(annotated) == 1  # the same beats, however they are heard
    card = json.loads((run / "outcome.json").read_text())["metrics"]
    for view, suffix in (("lead", ""), ("lead_noise", "_noise")):
        assert told["views"][view]["V"]["f1"] == pytest.approx(100 * card[f"V_f1{suffix}"])
    both = read_patients(run).figures("both")
    assert both["beat_f1"] > 0.95
    assert set(both) == set(card)


def test_records_can_be_left_out_of_the_figures(run: Path) -> None:
    done = CliRunner().invoke(cli, ["patients", str(run), "--without", "two, four"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    rows = [line.removeprefix(what).split() for line, what in zip(lines[4:], VIEWS.values(), strict=False)]
    assert [row[0] for row in rows] == ["2"] * len(VIEWS)
    kept = read_patients(run).total("both", ("two", "four"))["beat"]
    assert rows[list(VIEWS).index("both")][3] == f"{kept.percent['f1']:.2f}"
    wrong = {"one,five": "some of one, two, three, four; got 'five'", ",".join(NAMES): "got all of them"}
    for given, complaint in wrong.items():
        done = CliRunner().invoke(cli, ["patients", str(run), "--without", given])
        assert (done.exit_code, complaint in done.output) == (2, True), done.output


def test_both_leads_have_noise_of_their_own_and_a_record_of_one_lead_has_no_other(run: Path) -> None:
    config = configured()
    assert isinstance(config.data, RecordsData)
    quiet, noisy = read_leads(config.data, run.parent, "three", np.random.default_rng(0))
    noise = noisy.values - quiet.values
    assert np.all(noise.std(axis=0) > 0.01)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.9
    first = build_model(config, 1).eval()
    alone = msgspec.structs.replace(config.data, folder="alone", folds=(("one",), ("two",)), noise=())
    folder = run.parent / "alone"
    folder.mkdir()
    values = read_recording(run.parent / "db" / "one").values[:, :1].astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp("one", 360, ["mV"], ["MLII"], values, fmt=["16"], write_dir=str(folder))
    assert hear_others(first, msgspec.structs.replace(config, data=alone), run.parent, ["one"]) == {"one": {}}


def test_a_run_of_one_tier_left_no_patients_out(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["patients", str(tmp_path)])
    assert done.exit_code == 2
    assert "expected the run of a beat model of two tiers" in done.output
