"""What is too much noise for a beat model: learned on a real ECG with noise mixed in, and told by the monitor."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from monitor.core.blocks import NS, Alarm, Beat, Block
from monitor.core.engine import Engine
from monitor.core.errors import ConfigError
from monitor.core.stream import Plan
from monitor.inference import Model, find_models, load_model, second_tiers
from monitor.recordings import read_recording
from training.cards import write_with
from training.noise import learn_noise, sources_for

RATE = 360
RHYTHMS = str(Path(__file__).parents[2] / "sample_streams" / "ecg-rhythms.csv")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, list[str]]:
    folder = tmp_path_factory.mktemp("noise")
    white = np.random.default_rng(0).standard_normal(RATE * 60)
    lines = [f"{i / RATE:.6f},{value:.4f}" for i, value in enumerate(white)]
    (folder / "white.csv").write_text("time,mV\n" + "\n".join(lines) + "\n")
    said: list[str] = []
    model, noise = learn_noise("ecg-beats", RHYTHMS, [str(folder / "white.csv")], (), 60.0, said.append)
    write_with(model, folder / "told.onnx", noise=noise)
    again = load_model(folder / "told.onnx")
    assert again.card == msgspec.structs.replace(model.card, noise=noise)
    return again, said


def test_the_more_noise_the_more_often_it_is_told(learned: tuple[Model, list[str]]) -> None:
    _, said = learned
    rows = [line.split() for line in said[-8:]]
    told = {(kind, float(decibel)): float(share.rstrip("%")) for kind, decibel, share, _ in rows}
    assert told["none", np.inf] == 0
    assert told["white", 12] < 2
    assert told["white", -30] > 80


def test_the_monitor_says_noise_and_invents_no_beats(learned: tuple[Model, list[str]]) -> None:
    model, _ = learned
    values = read_recording("toy").values[: RATE * 60].copy()
    noisy = slice(RATE * 25, RATE * 45)
    values[noisy, 0] += 6 * np.random.default_rng(1).standard_normal(RATE * 20).astype(np.float32)
    plan = Plan(models=("b",))
    engine = Engine({"b": model.card}, lambda _: plan, max_streams=1, seconds=second_tiers({"b": model}))
    engine.push(Block("s", values, "r", 0, 0, float(RATE)), 0, 0)
    found = []
    while (batch := engine.ready("b", 64)) is not None:
        found += [notice for _, notice in engine.conclude(*engine.infer(batch, model)).notices]
    (raised, over) = [notice for notice in found if isinstance(notice, Alarm) and notice.label == "noise"]
    assert 25 < raised.raised_ns / NS <= 27
    assert 45 < over.changed_ns / NS < 50
    beats = np.array([notice.t_ns / NS for notice in found if isinstance(notice, Beat)])
    assert not ((beats > 27) & (beats < 45)).any()
    assert ((beats > 50) & (beats < 60)).sum() > 8


def test_only_a_model_of_beats_can_learn_it() -> None:
    with pytest.raises(ConfigError, match="with two tiers, got classify"):
        learn_noise("ecg-spikes", RHYTHMS, [])


def test_patients_that_the_model_did_not_learn_from_are_left_for_judging(tmp_path: Path) -> None:
    for name in ("101", "208", "300"):
        (tmp_path / f"{name}.csv").touch()
    card = load_model(find_models(None)["ecg-beats"]).card
    names = {records: [Path(one).stem for one in sources_for(card, str(tmp_path), records)]
             for records in ((), ("300",))}  # fmt: skip
    assert names == {(): ["101", "208"], ("300",): ["300"]}
    assert sources_for(card, RHYTHMS) == [RHYTHMS]
    (tmp_path / "101.csv").unlink()
    (tmp_path / "208.csv").unlink()
    assert [Path(one).stem for one in sources_for(card, str(tmp_path))] == ["300"]
