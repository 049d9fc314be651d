"""Why an alarm was raised: kept with it, there after a crash, told in words, in a plot and as JSON."""

from __future__ import annotations

import asyncio
import json
import math

import msgspec
import numpy as np
import pytest

from monitor.config import AlarmLog as Retention
from monitor.config import State as Checkpoints
from monitor.control import Client, GetHistory, GetWhy, History, Why
from monitor.core.blocks import Alarm, Event, Kind, Note, State
from monitor.core.evidence import Evidence, Foreseen, array_of, bytes_of
from monitor.dashboard.plot import draw_evidence, error_of, forecast_text
from monitor.dashboard.raster import ASCII, BRAILLE
from monitor.history import History as Recent
from monitor.keeper import Keeper
from monitor.outlets import open_outlet
from monitor.senders import send
from monitor.sinks.alarmlog import AlarmLog
from tests.daemons import sine
from tests.processes import Process
from tests.sinks.test_alarmlog import alarm as alarm_named
from tests.test_cli import monitor

WINDOW = np.sin(np.arange(50) / 5).astype(np.float32)[:, None]


def foreseen(off: float = 0.0) -> Foreseen:
    mean = np.sin(np.arange(80) / 5).astype(np.float32)[:, None]
    came = WINDOW.copy()
    came[-3:] += off
    unknown = mean.copy()
    unknown[:10] = np.nan
    return Foreseen(
        "f@1", 10**18, 50.0, 1, "mV", *(bytes_of(a) for a in (came, unknown, unknown - 0.2, unknown + 0.2))
    )


def evidence(alarm: str = "a", model: str = "m@2", **more: object) -> Evidence:
    return Evidence(alarm, "sine/1", model, 0.9, 0.5, 10**18, 50.0, 1, "", bytes_of(WINDOW), **more)


def text_of(rows: int, columns: int, glyphs=BRAILLE, **more: object) -> list[str]:
    cells = draw_evidence(evidence(**more), rows, columns, glyphs)
    return ["".join(map(chr, row)).rstrip() for row in cells.glyph.tolist()]


def test_the_first_evidence_of_an_alarm_is_kept_and_so_many_of_them(tmp_path):
    with AlarmLog(tmp_path / "log.db") as log:
        log.write([alarm_named("a"), evidence("a", foreseen=foreseen())])
        log.write([evidence("a", model="later@1")])
        assert log.evidence("a") == evidence("a", foreseen=foreseen())
        assert log.evidence("b") is None
        log.write([evidence(f"x{i}") for i in range(20)])
        keeper = Keeper(log, Checkpoints(), Retention(keep_windows=5), Recent(30.0))
        log.write([], keeper.checkpoint())
        assert [log.evidence(f"x{i}") is not None for i in (0, 14, 15, 19)] == [False, False, True, True]


def test_a_plot_tells_what_came_from_what_was_forecast_without_colour():
    lines = text_of(12, 79, foreseen=foreseen(2.0))
    assert "what came, and the interval that f@1 had forecast, mV" in lines[0]
    assert "the window as m@2 saw it" in lines[6]
    band = [line for line in lines[1:5] if "░" in line]
    assert band
    assert lines[5].split() == ["-0.98", "s", "0", "+0.6", "s"]
    assert all(len(line) <= 79 for line in lines)


def test_a_plot_in_ascii_is_ascii():
    lines = text_of(12, 79, ASCII, foreseen=foreseen(2.0))
    assert "\n".join(lines).isascii()
    assert any(":" in line for line in lines[1:5])


def test_what_is_too_small_or_broken_is_drawn_as_far_as_it_goes():
    assert len(text_of(5, 12)) == 5
    flat = msgspec.structs.replace(evidence(), window=bytes_of(np.zeros((50, 1), np.float32)))
    assert draw_evidence(flat, 8, 60, BRAILLE).glyph.shape == (8, 60)
    ahead = {name: getattr(foreseen(), name)[-120:] for name in ("mean", "lower", "upper")}
    nothing = msgspec.structs.replace(foreseen(), came=b"", **ahead)
    assert forecast_text(nothing).endswith("it had just begun")


@pytest.mark.parametrize(
    "broken", [{"rate_hz": 0.0}, {"rate_hz": math.inf}, {"channels": 0}, {"channels": 3}, {"mean": b""}]
)
def test_evidence_whose_parts_do_not_fit_each_other_is_none(broken):
    sound = msgspec.to_builtins(evidence(foreseen=foreseen()))
    assert msgspec.convert(sound, Evidence) == evidence(foreseen=foreseen())
    part = sound["foreseen"] if "mean" in broken else sound
    part.update(broken)
    with pytest.raises(msgspec.ValidationError, match="expected"):
        msgspec.convert(sound, Evidence)


def test_a_forecast_is_told_in_words():
    off, inside = error_of(foreseen(2.0))
    assert off == pytest.approx(2.0, abs=1e-5)
    assert inside == pytest.approx(37 / 40)
    assert forecast_text(foreseen(2.0)) == "f@1 was off by 2.00 mV at most in 1 s; 92% lay in its interval"
    assert forecast_text(None).startswith("none")


async def ask_why(control: str, alarm: str = "") -> Why:
    async with Client(control, 20) as client:
        return await client.ask(GetWhy(alarm), Why)


@pytest.mark.slow
async def test_the_window_outlives_the_history_and_the_daemon(tmp_path):
    """Raised, shown, kill -9, and shown again by the next daemon, whose history holds nothing of it any more."""
    with Process(tmp_path, feed__history_s=2.0) as daemon:
        async with open_outlet(daemon.reliable, "signals") as outlet:
            await send(sine(spikes=20.0, samples=3000), outlet, speed=40)
        before = await ask_why(daemon.control)
        assert isinstance(before.alarm, Alarm)
        spike = next(a for a in (await spikes(daemon)) if a.raised_ns < 10**18 + 30 * 10**9)
        why = await ask_why(daemon.control, spike.id)
        daemon.kill()
        daemon.start()
        async with Client(daemon.control, 20) as client:
            history = await client.ask(GetHistory("sine/1", 600.0), History)
        assert not any(e.t_ns == why.events[0].t_ns for e in history.events if e.end_ns < 10**18)
        assert await ask_why(daemon.control, spike.id) == why
        window = array_of(why.evidence.window, 1)
        assert window.shape == (50, 1)
        assert np.abs(np.diff(window[:, 0])).max() > 0.4, "the spike is in the window"
        assert why.evidence.foreseen.model.startswith("sine-forecast@")
        assert len(array_of(why.evidence.foreseen.came, 1)) > 20

        plain = await asyncio.to_thread(monitor, "alarms", "--control", daemon.control, "show", spike.id)
        assert plain.returncode == 0, plain.stderr
        for said in (f"spike  sine/1  {spike_time(spike)}", "against a threshold of", "GRU-32", "sine-forecast@",
                     "50 samples at 50.0 Hz", "░"):  # fmt: skip
            assert said in plain.stdout
        assert "\x1b" not in plain.stdout
        ascii_ = await asyncio.to_thread(
            monitor, "alarms", "--control", daemon.control, "show", "--glyphs", "ascii", PYTHONIOENCODING="ascii"
        )
        assert ascii_.returncode == 0, ascii_.stderr
        assert ascii_.stdout.isascii()
        told = await asyncio.to_thread(monitor, "alarms", "--control", daemon.control, "show", spike.id, "--json")
        found = json.loads(told.stdout)
        assert found["alarm"]["id"] == spike.id
        assert np.array(found["evidence"]["window"], float).shape == (50, 1)
        assert len(found["evidence"]["foreseen"]["mean"]) == len(found["evidence"]["foreseen"]["came"]) + 50
        none = await asyncio.to_thread(monitor, "alarms", "--control", daemon.control, "show", "nobody")
        assert (none.returncode, none.stdout) == (1, "")
        assert "no alarm 'nobody' in the log" in none.stderr


async def spikes(daemon: Process) -> list[Alarm]:
    from monitor.control import GetAlarms

    async with Client(daemon.control, 20) as client:
        found = await client.ask(GetAlarms(limit=1000), list[Alarm])
    return sorted((a for a in found if a.label == "spike"), key=lambda a: a.raised_ns)


def spike_time(alarm: Alarm) -> str:
    from monitor.verbs.why import time_text

    return time_text(alarm.raised_ns)


def test_why_holds_the_alarms_events_and_what_was_said_of_it(tmp_path):
    from tests.test_desk import Place

    with AlarmLog(tmp_path / "log.db") as log:
        place = Place(log)
        over = msgspec.structs.replace(alarm_named("a"), state=State.CLEARED, changed_ns=1000)
        event = Event("ecg/1", Kind.CLASS, "V", 20, 5, 25, 0.9, 0.5, "m@1")
        later = msgspec.structs.replace(event, t_ns=5000, start_ns=4990, end_ns=5010)
        log.write([over, event, later, Note("n", "ecg/1", 500, 1, "moved"), Note("o", "ecg/1", 5000, 1, "later")])
        log.write([Note("a-verdict", "ecg/1", 10, 2, alarm="a", verdict="true")])
        why = place.desk.answer(GetWhy(""))
        assert (why.alarm, why.events) == (over, [event])
        assert {note.id for note in why.notes} == {"n", "a-verdict"}


def test_verdicts_and_notes_become_labels(tmp_path):
    """A true alarm by what was flagged in it, a false one as a whole, a note by its text."""
    from monitor.labels import labels_of_alarm, lines_of, read_labels

    over = msgspec.structs.replace(alarm_named("a", raised_ns=100), state=State.CLEARED, changed_ns=900)
    events = [Event("ecg/1", Kind.CLASS, "V", t, t - 20, t + 5, 0.9, 0.5, "m@1") for t in (100, 400)]
    true, false = (Note("n", "ecg/1", 100, 1, "why", alarm="a", verdict=v) for v in ("true", "false"))
    spans = {v.verdict: [(x.start_ns, x.end_ns) for x in labels_of_alarm(over, events, v)] for v in (true, false)}
    assert spans == {"true": [(80, 105), (380, 405)], "false": [(80, 900)]}
    (tmp_path / "l").write_text("\n".join(lines_of(labels_of_alarm(over, events, true))))
    assert [(x.stream, x.label, x.kind, x.alarm, x.text) for x in read_labels(tmp_path / "l")] == [
        ("ecg/1", "V", "class", "a", "why")
    ] * 2


@pytest.mark.slow
async def test_alarms_export_labels(tmp_path):
    with Process(tmp_path) as daemon:
        async with open_outlet(daemon.reliable, "signals") as outlet:
            await send(sine(spikes=20.0, samples=1500), outlet, speed=0)
        first, second = (await spikes(daemon))[:2]

        async def run(*words):
            done = await asyncio.to_thread(monitor, "alarms", "--control", daemon.control, *words)
            assert done.returncode == 0, done.stderr
            return done.stdout

        await run("mark", first.id, "true")
        await run("mark", second.id, "false", "a cable")
        lines = [json.loads(line) for line in (await run("export", "--labels")).splitlines()]
        assert [(one["alarm"], one["verdict"], one["label"]) for one in lines] == [
            (first.id, "true", "spike"), (second.id, "false", "spike"),
        ]  # fmt: skip
        assert lines[0]["start_ns"] < first.raised_ns <= lines[0]["end_ns"]
        assert await run("export", "--labels", "--out", tmp_path / "l", "--stream", "nobody") == ""
        assert (tmp_path / "l").read_text() == ""


async def test_an_alarm_about_the_signal_keeps_the_signal(tmp_path):
    """No model raised it: the last seconds that came are what there is to see."""
    from monitor.core.blocks import NS, Block
    from monitor.publisher import Publisher
    from monitor.telemetry import Telemetry

    history, values = Recent(30.0), np.arange(1000, dtype=np.float32)[:, None]
    history.block(Block("ecg/1", values, "r", 0, 0, 100.0, ("I",), "mV"))
    flat = msgspec.structs.replace(
        alarm_named("f", raised_ns=8 * NS), kind=Kind.SIGNAL, label="flat", model="", times=1
    )
    with AlarmLog(tmp_path / "log.db") as log:
        publisher = Publisher([], history, log, Telemetry(), lambda: 0)
        await publisher.publish([flat, msgspec.structs.replace(flat, id="g", stream="nobody")])
        publisher.close()
        kept = log.evidence("f")
        assert log.evidence("g") is None
    assert (kept.rate_hz, kept.unit, kept.end_ns, kept.foreseen) == (100.0, "mV", 8 * NS, None)
    assert array_of(kept.window, 1)[[0, -1], 0].tolist() == [300.0, 800.0]
    assert "the signal, mV" in "".join(map(chr, draw_evidence(kept, 8, 60, BRAILLE).glyph[0].tolist()))
