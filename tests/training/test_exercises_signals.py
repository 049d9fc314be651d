"""The exercises on simulated signals, quickly; and what needs no network, against known answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from monitor.core.errors import ConfigError
from monitor.inference import load_model
from tests.training.exercising import check, run_quickly
from training.baselines import Autoregression, fit_autoregression, fit_sinusoid, persistence, seasonal
from training.evaluate import evaluate
from training.exercises import carrier, long_memory, lookback, spike_ceiling, spikes
from training.exercises import spike_detectors as detectors
from training.exercises.learning import Recipe
from training.exercises.next_value import NextValue
from training.exercises.result import Options, Result
from training.export import export
from training.judged_inputs import Settings
from training.runs import read_run

NAMES = ("sine-rnn", "spikes", "long-memory", "sine-lstm")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Result, Path]]:
    done: dict[str, tuple[Result, Path]] = {}

    def get(name: str) -> tuple[Result, Path]:
        if name not in done:
            out = tmp_path_factory.mktemp(name)
            done[name] = run_quickly(name, out), out
        return done[name]

    return get


@pytest.mark.parametrize("name", NAMES)
def test_an_exercise_gives_tables_figures_and_notes(
    name: str, results: Callable[[str], tuple[Result, Path]]
) -> None:
    result, out = results(name)
    check(name, result, out)
    for table in result.tables:
        for row in table.rows:
            assert any(isinstance(cell, float) for cell in row)
    assert 2 <= len(result.notes) <= 5


@pytest.mark.parametrize("name", NAMES)
def test_the_best_model_can_be_exported(name: str, results: Callable[[str], tuple[Result, Path]]) -> None:
    result, _ = results(name)
    assert result.run is not None
    assert export(result.run, say=lambda _: None).stat().st_size > 1000


@pytest.mark.parametrize("cell", list(spikes.CELLS))
def test_the_fair_tasks_network_is_served_as_it_was_judged(cell: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    finder = spikes.train_finder(cell, lambda: detectors.fair_windows(random, 64), Recipe(5, 3e-3))
    run = spikes.keep_best(cell, finder, 1.0, 0, Options(quick=True, out=tmp_path), 5)
    model = load_model(export(run, say=lambda _: None))
    windows = detectors.fair_windows(random, 100).values
    expected = 1 / (1 + np.exp(-spikes.logits_of(finder, windows)))
    told = model.run(windows[:, :, None].astype(np.float32))["probabilities"]
    np.testing.assert_allclose(told[:, 1], expected, atol=1e-5)
    assert 0 < model.card.thresholds["spike"] < 1
    assert "exercise spikes" in model.card.source.name
    assert "fair-spikes" in model.card.source.validation
    live = evaluate(model.path, str(tmp_path / "fair-spikes.csv"), Settings(), lambda _: None)
    assert live["total"]["seconds"] > 200  # through the monitor's own engine
    assert "spike" in str(live["total"])


def test_the_network_with_a_memory_is_served_over_its_last_200_values(
    results: Callable[[str], tuple[Result, Path]],
) -> None:
    result, out = results("long-memory")
    assert result.run is not None
    config, _, _ = read_run(result.run)
    model = load_model(export(result.run, say=lambda _: None))
    assert (model.card.window, model.card.horizon, config.model.rank) == (200, 40, carrier.RANK)
    torch.manual_seed(0)
    task = long_memory.make_task(0)
    network, centre, scale = carrier.train_carrier(task.noisy[:960], (15, 10))
    expected = task.unscaled(carrier.forgetful(network, task.noisy, centre, scale, 200, 960))  # (240,)
    windows = np.lib.stride_tricks.sliding_window_view(task.unscaled(task.noisy), 200)[760:-1, :, None]
    told = model.run(windows.astype(np.float32))["forecast"][:, 0, 0]
    np.testing.assert_allclose(told, expected, atol=1e-4)
    live = evaluate(model.path, str(out / "long-memory.csv"), Settings(limit_s=60), lambda _: None)
    assert live["total"]["seconds"] > 50


def test_crops_are_mixed_into_waves_of_the_same_periods() -> None:
    t = np.arange(960)
    line = torch.from_numpy(np.sin(0.17 * t) + 0.4 * np.sin(0.01 * t + 1))
    torch.manual_seed(0)
    crops = carrier.mixed(line).numpy()  # (crop, 540)
    # Two waves obey x[t] = a (x[t-1] + x[t-3]) - b x[t-2] - x[t-4], whatever their phases and sizes.
    one, other = 2 * math.cos(0.17), 2 * math.cos(0.01)
    a, b = one + other, 2 + one * other
    told = a * (crops[:, 3:-1] + crops[:, 1:-3]) - b * crops[:, 2:-2] - crops[:, :-4]
    np.testing.assert_allclose(told, crops[:, 4:], atol=1e-9)
    assert np.linalg.matrix_rank(crops, tol=1e-3) == 4  # of any phase
    assert len({round(float(crop.std()), 3) for crop in crops}) > 10


def test_the_same_seed_gives_the_same_figures(
    results: Callable[[str], tuple[Result, Path]], tmp_path: Path
) -> None:
    again = run_quickly("long-memory", tmp_path)
    assert again.tables == results("long-memory")[0].tables
    other = run_quickly("sine-rnn", tmp_path, seed=1)
    assert other.tables != results("sine-rnn")[0].tables
    assert other.tables == run_quickly("sine-rnn", tmp_path, seed=1).tables


def test_over_two_seeds_the_spread_is_told(tmp_path: Path) -> None:
    (table,) = run_quickly("sine-rnn", tmp_path, seeds=2).tables
    document = table.rows[1]
    assert isinstance(document[2], str)
    low, high = map(float, document[2].split("-"))
    assert isinstance(document[1], float)
    assert low <= document[1] <= high


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [{"data": Path("x.csv")}, {"test": Path("x")}, {"seed": -1}, {"seeds": 0}])
def test_what_makes_no_sense_is_one_clear_error(name: str, given: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"exercise {name}: .*got") as caught:
        run_quickly(name, tmp_path, **given)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_what_is_told_is_fed_back_into_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    model = NextValue("rnn", 4)
    monkeypatch.setattr(
        model, "forward", lambda window: window[:, 0] + window[:, -1]
    )  # of windows of two: Fibonacci
    told = lookback.run_on(model, np.array([[9.0, 1.0, 1.0], [9.0, 0.0, 2.0]]), 2)
    assert told.shape == (2, 50)
    np.testing.assert_array_equal(told[:, :6], [[2, 3, 5, 8, 13, 21], [2, 4, 6, 10, 16, 26]])


def test_the_lookback_forecaster_is_trained_as_published() -> None:
    torch.manual_seed(0)
    said: list[str] = []
    series = lookback.make_task(0, 1).series[:200]
    losses = lookback.train_as_published(NextValue("rnn", 64, layers=2), series, 20, 20, said.append)
    assert len(losses) == 20
    assert losses[-1] < 0.5 * losses[0]
    assert [line.rpartition(",")[0] for line in said] == [f"lookback 20: Epoch [{n}/20]" for n in (10, 20)]


def test_persistence_and_season() -> None:
    past = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(persistence(past, 2), [[3, 3], [6, 6]])
    np.testing.assert_array_equal(seasonal(past, 5, 2), [[2, 3, 2, 3, 2], [5, 6, 5, 6, 5]])
    np.testing.assert_array_equal(seasonal(past, 2, 3), [[1, 2], [4, 5]])
    with pytest.raises(ConfigError, match="1 to 3 samples, got 4"):
        seasonal(past, 2, 4)


def test_autoregression_recovers_a_known_process() -> None:
    random = np.random.default_rng(0)
    values = np.zeros(20_000)
    for t in range(2, len(values)):
        values[t] = 0.5 + 1.2 * values[t - 1] - 0.5 * values[t - 2] + random.standard_normal()
    fitted = fit_autoregression(values, 2)
    np.testing.assert_allclose(fitted.weights, [1.2, -0.5], atol=0.03)
    assert fitted.constant == pytest.approx(0.5, abs=0.06)


def test_autoregression_runs_on_over_its_own_output() -> None:
    model = Autoregression(1.0, np.array([0.5, -1.0]))
    # 1 + 0.5 * 4 - 2 = 1, then 1 + 0.5 * 1 - 4 = -2.5
    np.testing.assert_allclose(model.forecast([[9.0, 2.0, 4.0]], 2), [[1.0, -2.5]])
    wave = np.sin(0.3 * np.arange(200))
    np.testing.assert_allclose(
        fit_autoregression(wave, 2).forecast(wave[None, :150], 50)[0], wave[150:], atol=1e-6
    )
    with pytest.raises(ConfigError, match="2 or more values, got 1"):
        model.forecast([[1.0]])
    with pytest.raises(ConfigError, match="got order 3"):
        fit_autoregression([1.0, 2.0, 3.0, 4.0], 3)


def test_a_sinusoid_is_found_between_the_bins() -> None:
    index = np.arange(500)
    random = np.random.default_rng(0)
    truth = 2 + 0.7 * np.sin(0.1237 * index + 1)
    found = fit_sinusoid(truth + 0.1 * random.standard_normal(500))
    assert found.radians_per_sample == pytest.approx(0.1237, abs=1e-4)
    assert np.square(found(index) - truth).mean() < 3e-4
    with pytest.raises(ConfigError, match="8 or more"):
        fit_sinusoid(np.ones(100))


def test_windows_are_what_the_tasks_say() -> None:
    random = np.random.default_rng(0)
    document = detectors.document_windows(random, 1000)
    assert document.labels.mean() == 0.5
    assert set(document.at.sum(axis=1)) == {0, 3}
    fair = detectors.fair_windows(random, 4000)
    spikes = fair.labels == 1
    assert spikes.mean() == 0.5
    assert set(fair.at.sum(axis=1)[spikes]) == {1, 2, 3, 4, 5}
    assert not fair.at[~spikes].any()
    assert fair.at[:, 0].any()
    assert fair.at[:, -1].any()
    # The noise does not give the class away.
    level = detectors.noise_level(fair.values)
    assert level[spikes].mean() == pytest.approx(level[~spikes].mean(), rel=0.1)


@pytest.mark.parametrize("detector", [detectors.matched_filter, detectors.likelihood_ratio])
@pytest.mark.parametrize("start", [0, 20, 45])
@pytest.mark.parametrize("height", [-2.0, 2.0])
def test_detectors_find_a_spike_of_either_sign_anywhere(
    detector: Callable[[np.ndarray], np.ndarray], start: int, height: float
) -> None:
    random = np.random.default_rng(start)
    quiet = np.sin(1.3 + detectors.STEP_RAD * np.arange(50)) + 0.1 * random.standard_normal((50, 50))
    spiky = quiet.copy()
    spiky[:, start : start + 4] += height
    assert detector(spiky).min() > detector(quiet).max()


def test_the_likelihood_ratio_comes_near_bayes_on_an_easy_case() -> None:
    # One sample, known place and height, known noise: Bayes is right in Phi(height / 2 sigma) of the cases. The
    # detector does not know any of that, so the spike is made high enough for the difference to be small.
    random = np.random.default_rng(1)
    values = np.sin(detectors.STEP_RAD * np.arange(50)) + 0.2 * random.standard_normal((4000, 50))
    labels = np.arange(4000) % 2
    values[labels == 1, 25] += 1.8
    bayes = 0.5 * (1 + math.erf(4.5 / math.sqrt(2)))  # 1.8 is nine times the noise
    scores = detectors.likelihood_ratio(values)
    threshold = detectors.best_threshold(scores[:2000], labels[:2000])
    right = float(((scores[2000:] >= threshold) == labels[2000:]).mean())
    assert right > bayes - 0.005


def test_nothing_is_better_than_knowing_how_the_windows_are_drawn() -> None:
    random = np.random.default_rng(3)
    windows = detectors.fair_windows(random, 1500)
    odds = spike_ceiling.log_odds(windows.values)
    certain = 1 / (1 + np.exp(-np.abs(odds)))
    right = (odds > 0) == windows.labels
    assert right.mean() == pytest.approx(certain.mean(), abs=0.012)  # it is as often right as it says
    unsure = certain < 0.9
    assert right[unsure].mean() == pytest.approx(certain[unsure].mean(), abs=0.12)
    ceiling = spikes.judge(odds, 0.0, windows.labels)
    for detector in (detectors.matched_filter, detectors.likelihood_ratio):
        score = detector(windows.values)
        best = spikes.judge(score, detectors.best_threshold(score, windows.labels), windows.labels)
        assert ceiling["AUROC"] > best["AUROC"]
        assert ceiling["accuracy"] > best["accuracy"] - 0.003  # whose threshold is of these very windows


def test_the_noise_level_alone_tells_the_documents_classes() -> None:
    random = np.random.default_rng(0)
    for detector, least in ((detectors.roughness, 0.995), (detectors.noise_level, 0.98)):
        known, judged = (detectors.document_windows(random, 2000) for _ in range(2))
        threshold = detectors.best_threshold(detector(known.values), known.labels)
        assert ((detector(judged.values) >= threshold) == judged.labels).mean() > least


@pytest.mark.parametrize(
    ("scores", "labels", "threshold"),
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 2.5),
        ([1.0, 1.0, 2.0], [0, 1, 1], None),
        ([1.0, 2.0], [0, 0], None),
        ([1.0, 2.0], [1, 1], 1.0),
    ],
)
def test_the_best_threshold_is_right_most_often(
    scores: list[float], labels: list[int], threshold: float | None
) -> None:
    values, truth = np.array(scores), np.array(labels)
    found = detectors.best_threshold(values, truth)
    if threshold is not None:
        assert found == threshold
    candidates = np.concatenate([values, [values.max() + 1]])
    best = max(((values >= c) == truth).sum() for c in candidates)
    assert ((values >= found) == truth).sum() == best
