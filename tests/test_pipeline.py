"""The pipeline's own promises, with sources and sinks made of plain Python."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import msgspec
import numpy as np
import pytest

from monitor.config import AlarmLog as Retention
from monitor.config import Config, State
from monitor.core.blocks import NS, Alarm, Block, Event, Kind
from monitor.core.engine import Engine
from monitor.core.errors import StorageLost
from monitor.core.ledger import Ledger
from monitor.core.memory import Saved
from monitor.core.signals import NoisySine
from monitor.core.technical import SETTLE_S
from monitor.core.wire import encode_block
from monitor.history import History
from monitor.keeper import Keeper
from monitor.pipeline import Pipeline
from monitor.reload import load_models
from monitor.senders import blocks_of, signal_values
from monitor.sinks.alarmlog import AlarmLog, Write
from monitor.sources import Delivery, Message
from monitor.telemetry import Telemetry
from tests.conftest import eventually


class Deliveries:
    """A source that delivers the noisy sine in parts and notes what the log held when each was acknowledged."""

    def __init__(self, log, per_delivery):
        signal = signal_values(NoisySine(seed=1, spikes_per_minute=40.0), 10)
        blocks = blocks_of(signal, stream="sine/1", rate_hz=50.0, channels=(), unit="", t0_ns=0, samples=2000)
        payloads = [encode_block(block) for block in blocks]
        self.parts = [payloads[i : i + per_delivery] for i in range(0, len(payloads), per_delivery)]
        self.log, self.acknowledged = log, []

    async def deliveries(self):
        for number, part in enumerate(self.parts):
            messages = [Message(payload, "sine/1") for payload in part]
            yield Delivery(messages, lambda number=number: self.note(number))

    def note(self, number):
        newest = max((event.t_ns for event in self.log.events(limit=-1)), default=0)
        self.acknowledged.append((number, newest))

    def close(self):
        pass


def make(log, sinks=(), models=("sine-spikes",), history_s=10, **inference) -> Pipeline:
    rule = {"name": "*", "models": list(models), "rate_hz": 50.0}
    config = msgspec.convert({"streams": [rule], "inference": inference}, Config)
    loaded = load_models(config)
    engine = Engine({name: model.card for name, model in loaded.items()}, config.plan_of, max_streams=2)
    return Pipeline(engine, loaded, config.inference, config.limits, sinks, History(history_s), log, Telemetry())


async def test_a_delivery_is_acknowledged_in_order_and_after_its_events_are_durable(tmp_path):
    with AlarmLog(tmp_path / "log.db") as log:
        pipeline, source = make(log), Deliveries(log, per_delivery=20)
        inferring = asyncio.create_task(pipeline.infer())
        await pipeline.read(source)
        pipeline.stop()
        await inferring
        pipeline.close()
        assert [number for number, _ in source.acknowledged] == list(range(10))
        flagged = sorted(event.t_ns for event in log.events(limit=-1))
    assert len(flagged) > 10
    for number, newest_ns in source.acknowledged:
        end_ns = (number + 1) * 200 * 10**9 // 50
        caused = [t for t in flagged if t < end_ns - (SETTLE_S + 0.2) * NS]  # the rest is not known yet
        assert newest_ns >= caused[-1]


async def test_nothing_is_acknowledged_while_its_windows_wait(tmp_path):
    with AlarmLog(tmp_path / "log.db") as log:
        pipeline, source = make(log, max_wait_ms=60_000.0, max_batch=4096), Deliveries(log, per_delivery=20)
        inferring = asyncio.create_task(pipeline.infer())
        await pipeline.read(source)
        assert source.acknowledged == []
        pipeline.stop()
        await inferring
        pipeline.close()
        assert len(source.acknowledged) == 10


@pytest.mark.parametrize("models", [("sine-spikes", "sine-forecast"), ("sine-forecast", "sine-spikes")])
async def test_alarms_of_a_backlog_say_what_was_forecast(tmp_path, models):
    """All of the signal is there before the first model begins, and is still told as if it had come bit by bit."""
    with AlarmLog(tmp_path / "log.db") as log:
        pipeline, source = make(log, models=models), Deliveries(log, per_delivery=200)
        await pipeline.read(source)
        pipeline.stop()
        await pipeline.infer()
        pipeline.close()
        kept = [log.evidence(alarm.id) for alarm in log.alarms(limit=-1) if alarm.label == "spike"]
    assert len(kept) > 5
    assert all(evidence.foreseen is not None for evidence in kept)


async def test_the_next_batch_is_inferred_while_one_is_concluded(tmp_path, monkeypatch):
    infer_all, conclusions, begun = Engine.infer_all, Engine.conclusions, []
    another = threading.Condition()

    def inferring(self, batches, model):
        with another:
            begun.append(len(batches))
            another.notify()
        return infer_all(self, batches, model)

    def concluding(self, told):
        with another:
            assert another.wait_for(lambda: len(begun) > 1, 60), "nothing is inferred while this is concluded"
        return conclusions(self, told)

    monkeypatch.setattr(Engine, "infer_all", inferring)
    monkeypatch.setattr(Engine, "conclusions", concluding)
    monkeypatch.setattr(Engine, "is_light", lambda *_: False)
    with AlarmLog(tmp_path / "log.db") as log:
        pipeline, source = make(log, max_batch=64), Deliveries(log, per_delivery=200)
        await pipeline.read(source)
        pipeline.stop()
        await pipeline.infer()
        pipeline.close()
        assert len(log.events(limit=-1)) > 10
    assert len(begun) > 2


@pytest.mark.parametrize(("limit", "on_the_spot"), [(10**9, True), (1000, False)])
async def test_another_thread_infers_what_takes_long(tmp_path, monkeypatch, limit, on_the_spot):
    infer_all, threads = Engine.infer_all, set()

    def inferring(self, batches, model):
        threads.add(threading.current_thread())
        return infer_all(self, batches, model)

    monkeypatch.setattr(Engine, "infer_all", inferring)
    monkeypatch.setattr("monitor.core.engine._LIGHT", limit)
    with AlarmLog(tmp_path / "log.db") as log:
        pipeline, source = make(log), Deliveries(log, per_delivery=200)
        await pipeline.read(source)
        pipeline.stop()
        await pipeline.infer()
        pipeline.close()
    assert threads
    assert (threads == {threading.main_thread()}) is on_the_spot
    assert (threading.main_thread() in threads) is on_the_spot


def test_the_work_of_a_round_is_that_of_all_its_models(make_card):
    cards = {name: make_card("forecast") for name in ("a", "b")}
    engine = Engine(cards, lambda _: None)
    one = engine.lanes["a"].work(1)
    assert one == cards["a"].window * cards["a"].hidden ** 2 * cards["a"].layers
    rows = 40_000_000 // one
    assert engine.is_light({"a": rows, "b": 0})
    assert not engine.is_light({"a": rows, "b": rows})


class Watched(AlarmLog):
    """An alarm log that notes what goes into each transaction."""

    def __init__(self, path):
        super().__init__(path)
        self.transactions = []

    def write(self, notices, more=()):
        notices, tables = list(notices), [write.sql.split("INTO ")[-1].split(" ")[0] for write in more]
        self.transactions.append((len(notices), tables))
        super().write(notices, more)


async def test_a_checkpoint_keeps_nothing_waiting_that_is_to_be_told(tmp_path):
    """It is large, so it is written after what its turn has found, and after that is told."""
    with Watched(tmp_path / "log.db") as log:
        pipeline, source = make(log), Deliveries(log, per_delivery=20)
        history = History(10)
        pipeline.keeper = Keeper(log, State(checkpoint_s=0.0), Retention(), history)
        inferring = asyncio.create_task(pipeline.infer())
        await pipeline.read(source)
        pipeline.stop()
        await inferring
        pipeline.close()
    checkpoints = [i for i, (_, tables) in enumerate(log.transactions) if "stream" in tables]
    assert len(checkpoints) >= 2
    assert all(log.transactions[i][0] == 0 and "journal" not in log.transactions[i][1] for i in checkpoints)
    told = [i for i, (_, tables) in enumerate(log.transactions) if "journal" in tables]
    assert told, "what was received is written with what it caused"
    assert told[0] < checkpoints[0]
    assert sum(count for count, _ in log.transactions) > 10


async def test_a_checkpoint_of_many_streams_is_made_ready_in_pieces(tmp_path):
    """Other tasks have their turn meanwhile, and what is received meanwhile is not crossed out by it."""
    passes, made_at = 0, {}

    async def other_work():
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    with Watched(tmp_path / "log.db") as log:
        pipeline, history = make(log, models=()), History(10)
        keeper = pipeline.keeper = Keeper(log, State(checkpoint_s=0.0), Retention(), history)
        for i in range(300):
            history.block(Block(f"s/{i}", np.zeros((10, 1), np.float32), "r", 0, 0, 50.0, ("1",), ""))
        unsaved = history.unsaved
        history.unsaved = lambda: (made_at.setdefault(passes, []).append(piece) or piece for piece in unsaved())
        working = asyncio.create_task(other_work())
        keeper.received([Message(b"before", "s/1")], 1)
        inferring = asyncio.create_task(pipeline.infer())
        keeper.is_dirty = True
        pipeline.announce([])
        await eventually(lambda: made_at, "the first piece")
        keeper.received([Message(b"after", "s/1")], 2)
        pipeline.announce([])

        def left():
            return [entry.messages for entry in keeper.load().journal]

        await eventually(lambda: left() == [[(b"after", "s/1")]], "a checkpoint that leaves what came after it")
        pipeline.stop()
        await inferring
        working.cancel()
        pipeline.close()
    assert sum(map(len, made_at.values())) == 300
    assert max(map(len, made_at.values())) <= 64


class Heard:
    """A sink that keeps the alarms it is told of."""

    def __init__(self):
        self.alarms = []

    def notice(self, notice):
        if isinstance(notice, Alarm):
            self.alarms.append(notice)

    def block(self, block):
        pass

    def page(self, page):
        pass

    def conclusion(self, engine, conclusion):
        pass


async def test_a_full_disk_is_an_alarm_and_monitoring_goes_on(tmp_path):
    """SQLite's own "disk is full", by a limit on its pages; then there is room again."""
    with AlarmLog(tmp_path / "log.db") as log:
        heard = Heard()
        pipeline, source = make(log, [heard]), Deliveries(log, per_delivery=5)
        pages = log._db.execute("PRAGMA page_count").fetchone()[0]
        log._db.execute(f"PRAGMA max_page_count={pages}")
        filler = [Event("filler", Kind.SIGNAL, "x" * 200, t_ns, 0, 0, 1.0, 1.0) for t_ns in range(1000)]
        with contextlib.suppress(StorageLost):
            for event in filler:
                log.write([event])
        with pytest.raises(StorageLost, match="full"):
            log.write(filler[-1:])
        inferring = asyncio.create_task(pipeline.infer())
        halves = source.parts[:20], source.parts[20:]
        source.parts = halves[0]
        await pipeline.read(source)
        await eventually(lambda: pipeline.publisher.storage_alarm, "the full disk to be noticed")
        (ours,) = [a for a in heard.alarms if a.label == "alarm-log"]
        assert (ours.priority, ours.state) == ("high", "active")
        assert "full" in ours.detail
        assert any(a.label == "spike" for a in heard.alarms)
        log._db.execute("PRAGMA max_page_count=100000")
        source.parts = halves[1]
        await pipeline.read(source)
        pipeline.stop()
        await inferring
        await pipeline.publisher.publish([])
        pipeline.close()
        assert pipeline.publisher.storage_alarm is None
        told = {a.id for a in heard.alarms if a.label == "spike"}
        assert told == {a.id for a in log.alarms(limit=-1) if a.label == "spike"}  # nothing was lost meanwhile
        assert heard.alarms[-1].label in ("alarm-log", "spike")
        assert log._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class Failing(Watched):
    """An alarm log that cannot write the transaction whose turn is given, counted from 0."""

    fails_at = -1

    def write(self, notices, more=()):
        if len(self.transactions) == self.fails_at:
            self.transactions.append((0, []))
            raise StorageLost("there is no room")
        super().write(notices, more)


async def checkpoint(pipeline, names, at):
    """One that holds 2000 samples of each of these streams, from the `at`-th on."""
    for name in names:
        values = np.full((2000, 1), at, np.float32)
        block = Block(name, values, "r", at, at * NS // 50, 50.0, ("1",), "")
        pipeline.publisher.block(block)
    saved = [Saved(name, Ledger(name).state, ()) for name in names]
    await pipeline._keep([*pipeline.keeper.checkpoint(), *pipeline.keeper.states(saved)])


async def test_a_large_checkpoint_is_written_in_parts_that_count_when_all_are_there(tmp_path):
    names = [f"s/{i}" for i in range(500)]
    with Failing(tmp_path / "log.db") as log:
        pipeline = make(log, models=(), history_s=60)
        keeper = pipeline.keeper = Keeper(log, State(), Retention(), pipeline._history)
        await checkpoint(pipeline, names, 0)
        parts = [tables for _, tables in log.transactions]
        assert len(parts) > 2, "of 4 MB, not much more than one at a time"
        assert all("recent" in tables for tables in parts)
        assert [i for i, tables in enumerate(parts) if "stream" in tables] == [len(parts) - 1]
        assert {block.seq for block in keeper.load().recent} == {0}
        assert len(keeper.load().recent) == 500
        log.write([], [Write("DELETE FROM place", iter([()]))])
        assert len(keeper.load().recent) == 500, "of a file from before there were parts, too"

        log.fails_at = len(log.transactions) + 1
        await checkpoint(pipeline, names, 2000)
        assert len(log.transactions) == log.fails_at + 1, "what one of its parts is missing of is given up"
        assert log.read("SELECT count(*) FROM recent")[0][0] > 500
        assert {block.seq for block in keeper.load().recent} == {0}
        pipeline.close()
    with Failing(tmp_path / "log.db") as log:  # and after a crash, too
        pipeline = make(log, models=(), history_s=60)
        keeper = pipeline.keeper = Keeper(log, State(), Retention(), pipeline._history)
        assert {block.seq for block in keeper.load().recent} == {0}
        await checkpoint(pipeline, names, 4000)
        recent = keeper.load().recent
        assert {block.seq for block in recent} == {4000}, "and what is older than what is kept has gone"
        assert len(recent) == log.read("SELECT count(*) FROM recent")[0][0] == 500
        pipeline.close()
