"""Workers on real servers: what is committed, and who commits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from monitor.cluster.jetstream import JetStream, Overtaken, Refused, Unanswered, connected
from monitor.cluster.layout import make_streams
from monitor.cluster.partition import Partition
from monitor.cluster.pull import Delivered, Pull
from monitor.cluster.shard import Shard, build_engine
from monitor.config import Cluster
from monitor.core.errors import ConfigError, Unreachable
from monitor.reload import load_models
from tests.cluster.chaos import WorkerProcess, longest_stall, steadily
from tests.cluster.conftest import caught_up, cluster_config, commits, nodes, publish, told_by, working
from tests.cluster.signals import entries, rounded, told

pytestmark = [pytest.mark.broker, pytest.mark.xdist_group("cluster")]

STREAMS = [*(f"sine/{n}" for n in range(6)), "ecg/1", "ecg/2"]


def calm(config, models, messages):
    """What one engine for each stream says of the same messages."""
    pristine = build_engine(config, models)
    by_stream = [[m for m in messages if m.stream == stream] for stream in STREAMS]
    return rounded(told([Shard(config, models, pristine).take(some) for some in by_stream]))


@contextlib.asynccontextmanager
async def one_node(folder, seconds=12.0, **changes):
    async with nodes(1, folder) as made:
        config = cluster_config(made, **changes)
        async with connected(config.cluster, "test") as js:
            await make_streams(js, config.cluster)
            yield js, config, load_models(config), entries(STREAMS, seconds)


async def test_one_worker_commits_what_one_engine_says(tmp_path):
    async with one_node(tmp_path) as (js, config, models, messages), working(config, models):
        await publish(js, messages)
        await caught_up(js, len(messages))
        assert rounded(told(await told_by(js))) == calm(config, models, messages)
        assert len(await commits(js)) == 4


async def test_a_worker_that_comes_is_given_its_share_and_one_that_goes_hands_over(tmp_path):
    async with one_node(tmp_path) as (js, config, models, messages), working(config, models, "first"):
        await publish(js, messages[:200])
        await caught_up(js, 200)
        async with working(config, models, "second"):
            for at in range(200, 400, 20):
                await publish(js, messages[at : at + 20])
                await asyncio.sleep(0.05)
            await caught_up(js, 400)
            newest = {rows[-1].worker for rows in (await commits(js)).values()}
            assert newest == {"first", "second"}
        await publish(js, messages[400:])
        await caught_up(js, len(messages))
        assert {rows[-1].worker for rows in (await commits(js)).values()} == {"first"}
        assert rounded(told(await told_by(js))) == calm(config, models, messages)


class Hands:
    """A partition without a worker around it, and its messages as a consumer would hand them out."""

    def __init__(self, js: JetStream, config, models, name: str):
        pristine = build_engine(config, models)
        self.partition = Partition(
            js, 0, name, lambda: Shard(config, models, pristine), ThreadPoolExecutor(1), snapshot_s=0.0
        )
        self.number = 0

    async def process(self, messages, skip=0, again=()):
        """`skip` were lost on the way; `again` come for the second time."""
        self.number += skip
        delivered = []
        for message in messages:
            self.number += 1
            delivered.append(Delivered(message, self.number, message not in again, "pin", ""))
        return await self.partition.process(delivered)


async def stored(js, config, messages):
    """The messages as they lie in the one partition."""
    await publish(js, messages)
    last = await js.last("SAMPLES", "samples.0.*")
    found = [one async for one in js.read("SAMPLES", "samples.0.*", 1, last.seq)]
    assert len(found) == len(messages)
    return [m._replace(seq=one.seq, at_ns=one.at_ns) for m, one in zip(messages, found, strict=True)]


async def test_of_two_who_think_it_is_theirs_one_writes(tmp_path):
    async with one_node(tmp_path, cluster={"partitions": 1}) as (js, config, models, sent):
        messages = await stored(js, config, sent)
        zombie, heir = Hands(js, config, models, "zombie"), Hands(js, config, models, "heir")
        await zombie.process(messages[:200])
        await heir.process(messages[200:250])
        with pytest.raises(Overtaken):
            await zombie.process(messages[200:400])
        await heir.process(messages[250:350])
        await zombie.process(messages[350:])  # now it is its again: it begins where the heir has ended
        assert rounded(told(await told_by(js, 1))) == calm(config, models, messages)
        assert [c.worker for c in (await commits(js, 1))[0] if not c.frozen_position][:1] == ["zombie"]


async def test_what_was_lost_between_server_and_worker_is_read_from_the_stream(tmp_path):
    async with one_node(tmp_path, cluster={"partitions": 1}) as (js, config, models, sent):
        messages = await stored(js, config, sent)
        hands = Hands(js, config, models, "w")
        await hands.process(messages[50:100])  # who begins asks what lies before
        await hands.process(messages[150:200], skip=50)  # a hole in the consumer's count
        # What a dead worker had: for some of it the time is up, some comes later, in the midst of what is new.
        came_again = [*messages[200:210], *messages[215:220]]
        await hands.process(
            [*came_again, *messages[250:270], *messages[222:225]], skip=50, again=messages[200:250]
        )
        await hands.process([*messages[120:140], *messages[270:]], again=messages[120:140])
        assert rounded(told(await told_by(js, 1))) == calm(config, models, messages)


async def test_an_answer_that_was_lost_does_not_double_a_commit(tmp_path, monkeypatch):
    async with one_node(tmp_path, cluster={"partitions": 1}) as (js, config, models, sent):
        messages = await stored(js, config, sent)
        hands, publishing, lost = Hands(js, config, models, "w"), js.publish, []

        async def deaf(*args, **kwargs):
            seq = await publishing(*args, **kwargs)
            if seq % 3 == 0 and args[0] == "results.0" and seq not in lost:
                lost.append(seq)
                raise Unanswered("no answer")
            return seq

        monkeypatch.setattr(js, "publish", deaf)
        for at in range(0, len(messages), 50):
            await hands.process(messages[at : at + 50])
        assert rounded(told(await told_by(js, 1))) == calm(config, models, messages)
        positions = [commit.position for commit in (await commits(js, 1))[0]]
        assert positions == sorted(positions)
        assert len(lost) > 5


async def test_what_a_dead_worker_was_given_is_worked_off_although_nothing_new_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.cluster.layout.ACK_WAIT_S", 3600.0)
    async with one_node(tmp_path, cluster={"partitions": 1}) as (js, config, models, sent):
        pull = Pull(js, 0)
        asking = asyncio.create_task(pull.run())
        messages = sent[:50]
        await publish(js, messages)
        while len(pull.hand) < len(messages):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert pull.is_pinned
        pull.close()
        await asking
        async with working(config, models):
            await caught_up(js, len(messages), 1)


async def test_a_worker_ends_although_nobody_answers_any_more(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("monitor.cluster.worker.STOP_S", 0.5)
    async with nodes(1, tmp_path) as made:
        config = cluster_config(made)
        models = load_models(config)
        async with working(config, models):
            async with connected(config.cluster, "test") as js:
                await publish(js, entries(STREAMS, 12.0)[:100])
                await caught_up(js, 100)
            await made[0].kill()
    assert "not handed over" in caplog.text


@pytest.mark.slow
async def test_killed_nodes_killed_workers_and_zombies_change_nothing(tmp_path, capsys):
    """Three nodes, three workers, a steady load: what is committed is what it would be without."""
    rng = random.Random(7)
    async with nodes(3, tmp_path) as made:
        config = cluster_config(made)
        models, messages = load_models(config), entries(STREAMS, 45.0)
        workers = [WorkerProcess(tmp_path, config, f"w{n}").start() for n in range(3)]
        try:
            async with connected(config.cluster, "test") as js:
                await make_streams_at_last(js, config.cluster)
                until, stalls = asyncio.Event(), {}
                watching = [asyncio.create_task(longest_stall(js, p, until, stalls)) for p in range(4)]
                sending = asyncio.create_task(steadily(js, messages, rate=len(messages) / 12))
                await asyncio.sleep(1)
                victim, sleeper, node = rng.sample(workers, 1)[0], workers[0], rng.choice(made)
                victim.kill()
                victim.start()
                await asyncio.sleep(2)
                await node.kill()
                await asyncio.sleep(3)
                await node.start()
                sleeper.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(2)
                sleeper.process.send_signal(signal.SIGCONT)
                await sending
                await caught_up(js, len(messages))
                until.set()
                await asyncio.gather(*watching)
                found = rounded(told(await told_by(js)))
                print(f"{len(messages)} blocks, 3 faults, longest stalls {stalls}")  # noqa: T201
                assert found == calm(config, models, messages)
        finally:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGCONT)
                worker.kill()


async def make_streams_at_last(js, settings):
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Unanswered, Refused):
                return await make_streams(js, settings)
            await asyncio.sleep(0.1)


async def test_what_is_wrong_with_a_cluster_is_said(tmp_path):
    with pytest.raises(Unreachable, match=r"no NATS server answers at nats://127\.0\.0\.1:1"):
        async with connected(Cluster(servers=("nats://127.0.0.1:1",)), "test"):
            pass
    async with nodes(1, tmp_path) as made:
        settings = Cluster(servers=(made[0].url,), replicas=3)
        async with connected(settings, "test") as js:
            with pytest.raises(ConfigError, match=r"cluster\.replicas: 3 copies need as many servers"):
                await make_streams(js, settings)
