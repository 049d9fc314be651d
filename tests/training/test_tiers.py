"""A beat model of two tiers: from records to a file that the monitor loads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from monitor.core.errors import ConfigError, ModelError
from monitor.core.rhythm import FEATURES, GROUPS
from monitor.inference import load_model
from monitor.recordings import read_recording
from training.config import FitConfig, load_config
from training.export import export
from training.judged import drive
from training.leads import hear_both
from training.models import build_model
from training.second import UNASKED, Candidates, SecondTier, ask, fit_second
from training.shape import SecondShape
from training.tiers import choose_biases, fit_tiers, tallies

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


def configured(**changes: Any) -> FitConfig:
    tree: dict[str, Any] = {
        "name": "tiny-beats",
        "task": "beats",
        "data": {"source": "records", "name": "made up", "licence": "", "folder": "db", "copies": 1,
                 "folds": [NAMES[:2], NAMES[2:]]},
        "conditioning": {"high_pass_hz": 0.5, "low_pass_hz": 28.0, "gain": "running-range"},
        "model": {"hidden": 12, "rate_hz": 72.0, "samples_per_step": 3, "hop": 1, "delay": 8, "classes": CLASSES},
        "train": {"epochs": 10, "epoch_windows": 1000, "hop": 3, "learning_rate": 1e-2, "rare_share": 0.5,
                  "class_weights": [1.0, 1.0, 1.0, 1.0]},
        "second": {"hidden": 8, "window": 12, "hop": 4, "epochs": 30},
    }  # fmt: skip
    return msgspec.convert(tree | changes, FitConfig)


def test_from_records_to_a_file_that_the_monitor_loads(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    for i, name in enumerate(NAMES):
        write_record(tmp_path / "db", name, i)
    run = fit_tiers(configured(), tmp_path, tmp_path / "runs", quiet=True)
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
    assert (both.card.name, both.card.channels, both.card.metrics) == ("tiny-beats-2", 2, {})
    recording = read_recording(tmp_path / "db" / "one")
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


def test_what_cannot_be_judged_is_not_and_what_was_missed_is() -> None:
    one = candidates([0, 2, 2, 4, 3, UNASKED], missed=(1, 0, 2, 0))
    certain = np.log(np.full((6, 5), 0.01))
    for row, said in enumerate([0, 2, 0, 4, 2, 2]):
        certain[row, said] = 0
    told = tallies([(one, certain)], np.zeros(5), CLASSES)
    assert (told["beat"].hit, told["beat"].missed, told["beat"].false) == (4, 3, 0)
    # One V right, one called N, two never found; V called on a fusion beat is excused.
    assert (told["V"].hit, told["V"].missed, told["V"].false) == (1, 3, 0)
    assert (told["F"].hit, told["F"].missed) == (0, 1)


def test_the_operating_point_is_where_most_is_right() -> None:
    random = np.random.default_rng(3)
    kinds = random.choice([0, 2], 4000, p=[0.9, 0.1])
    odds = np.where(kinds == 2, 1.0, -1.0) + random.standard_normal(4000) + 1.5  # the network leans to V
    logits = np.full((4000, 5), -9.0)
    logits[:, 0], logits[:, 2] = 0, odds
    answers = [(Candidates(np.zeros((4000, FEATURES), np.float32), kinds, np.zeros(4, int), noisy=False), logits)]
    biases = choose_biases(answers, CLASSES)
    assert biases[2] < -1.5
    before, after = (tallies(answers, b, CLASSES)["V"].percent["f1"] for b in (np.zeros(5), biases))
    assert after > before + 20
