"""Every row of "when things go wrong", each with that very fault: the table in tests/README.md says which test.

Real processes, brokers, sockets and file systems. The numbers that prove it are printed (pytest -s).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time

import pytest
import zmq

from monitor.core.errors import Unreachable
from monitor.core.wire import encode_block
from monitor.inference import Model
from monitor.outlets import open_outlet
from monitor.senders import send
from monitor.sockets import Socket
from tests.cable import Cable
from tests.conftest import eventually, free_port, start_broker, wait_until
from tests.daemons import received, running, settings, sine, state_of
from tests.processes import Process, check_database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("cut_connections"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextlib.contextmanager
def brokers(folder):
    """Starts a broker, and starts it again on the same port; stops what is left."""
    started = []

    def start(port=None):
        started.append(start_broker(folder, port or free_port()))
        return started[-1]

    try:
        yield start
    finally:
        for broker in started:
            broker.process.kill()
            broker.process.wait()


@pytest.mark.broker
@pytest.mark.xdist_group("broker")
async def test_mqtt_loses_nothing_when_the_daemon_is_killed(tmp_path):
    """QoS 1, a persistent session: three kill -9 in one load, and the broker delivers again what was not told."""
    with brokers(tmp_path) as start:
        broker = start()
        daemon = Process(tmp_path, mqtt__host="127.0.0.1", mqtt__port=broker.port, state__checkpoint_s=0.3).start()
        try:
            wait_until(lambda: "connected to" in daemon.text(), "the subscription")
            async with open_outlet(f"mqtt://127.0.0.1:{broker.port}", "signals") as outlet:
                sending = asyncio.create_task(send(sine(samples=5000, spikes=60.0), outlet, speed=20))
                for _ in range(3):
                    await asyncio.sleep(0.8)  # a load of five seconds, cut at three places of its own choosing
                    daemon.kill()
                    check_database(daemon.db)
                    daemon.start(wait=False)
                await sending
            ledger = await all_of(daemon, 5000)
        finally:
            daemon.kill()
        check_database(daemon.db)
    print(f"three kills over MQTT: {ledger}")  # noqa: T201
    assert (ledger.received, ledger.missing, ledger.late, ledger.runs) == (5000, 0, 0, 1)


async def all_of(daemon, samples, stream="sine/1"):
    """The ledger, once every sample is received or given up."""
    ledger = None
    async with asyncio.timeout(40):
        while ledger is None or ledger.received + ledger.missing < samples:
            await asyncio.sleep(0.05)
            with contextlib.suppress(Unreachable):
                states = await daemon.states()
                ledger = states[stream].ledger if stream in states else None
    return ledger


@pytest.mark.broker
@pytest.mark.xdist_group("broker")
async def test_mqtt_loses_nothing_when_the_network_is_cut_or_the_broker_killed(tmp_path, models):
    with brokers(tmp_path) as start:
        broker = start()
        cable = Cable(broker.port)
        await cable.mend()
        config = settings(tmp_path, mqtt={"host": "127.0.0.1", "port": cable.port, "reconnect_max_s": 0.3})
        async with running(config, models) as daemon:
            source = daemon.doors.mqtt_source
            await eventually(lambda: source.connected, "the subscription")
            async with open_outlet(f"mqtt://127.0.0.1:{broker.port}", "signals") as outlet:
                sending = asyncio.create_task(send(sine(samples=3000), outlet, speed=20))
                for _ in range(2):
                    await eventually(lambda: (s := state_of(daemon)) and s.ledger.received > 200, "some samples")
                    await cable.cut()
                    await eventually(lambda: not source.connected, "the loss to be noticed")
                    await cable.mend()
                    await eventually(lambda: source.connected, "the connection")
                await sending
            await eventually(received(daemon, 3000), "every sample")
            first = state_of(daemon).ledger
            broker.process.kill()
            broker.process.wait()
            await eventually(lambda: not source.connected, "the loss to be noticed")
            start(broker.port)
            await eventually(lambda: source.connected, "the broker to be found again", 30)
            async with open_outlet(f"mqtt://127.0.0.1:{broker.port}", "signals") as outlet:
                await send(sine("sine/2", samples=500), outlet, speed=0)
            await eventually(received(daemon, 500, "sine/2"), "every sample of the second stream")
        await cable.cut()
    print(f"two cuts: {first}")  # noqa: T201
    assert (first.received, first.missing, first.late) == (3000, 0, 0)


async def test_a_stuck_dashboard_never_slows_the_daemon(tmp_path, models):
    """A subscriber to everything that reads nothing: its queue fills, and nobody else notices."""
    config = settings(tmp_path, feed={**feed(tmp_path), "queue": 10})
    async with running(config, models) as daemon:
        stuck = Socket(zmq.SUB, connect=config.feed.publish, options={zmq.RCVHWM: 1})
        stuck.subscribe(b"")
        await eventually(lambda: daemon.doors.feed._subscribed, "the subscription")
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(samples=30_000), outlet, speed=0)
        await eventually(received(daemon, 30_000), "every sample")
        stuck.close()
    ledger = state_of(daemon).ledger
    assert (ledger.missing, ledger.duplicated) == (0, 0)


def feed(folder):
    return {"publish": f"ipc://{folder}/feed", "control": f"ipc://{folder}/control"}


async def test_under_overload_hops_are_skipped_and_counted_before_samples_are_lost(tmp_path, models):
    """A model of 20 ms a batch, and more windows than that allows: every sample is in the books, every hop too."""
    config = settings(tmp_path, inference={"max_waiting": 50, "max_batch": 8})
    is_slow = True

    def slowed(model):
        def run(windows):
            time.sleep(0.02 * is_slow)
            return model.run(windows)

        return run

    slow = {name: Model(model.card, model._session, model.path) for name, model in models.items()}
    for name, model in slow.items():
        model.run = slowed(models[name])
    async with running(config, slow) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(samples=20_000), outlet, speed=0)
        await eventually(received(daemon, 20_000), "every sample")
        assert state_of(daemon).ledger.missing == 0
        assert state_of(daemon).skipped > 0
        every = 2 * ((20_000 - 50) // 5 + 1)
        await eventually(
            lambda: state_of(daemon).windows + state_of(daemon).skipped == every, "what is being inferred"
        )
        is_slow = False
        async with open_outlet(config.zeromq.listen, "signals") as outlet:  # and it recovers by itself
            await send(sine("sine/2", samples=400, block=10), outlet, speed=50)
        await eventually(received(daemon, 400, "sine/2"), "the second stream")
        await eventually(lambda: state_of(daemon, "sine/2").windows == 2 * 71, "all its windows")
        assert state_of(daemon, "sine/2").skipped == 0


async def test_what_is_too_large_or_unknown_is_refused_and_counted(tmp_path, models):
    config = settings(tmp_path, limits={"streams": 2, "block_samples": 100})
    async with running(config, models) as daemon:
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            for i in range(5):
                await outlet.send(f"sine/{i}", encode_block(next(sine(f"sine/{i}", samples=10))))
            await outlet.send("sine/1", encode_block(next(sine(samples=200, block=200))))
            await outlet.send("sine/1", b"x" * 5_000_000)
            await outlet.send("sine/1", encode_block(next(sine(samples=10)))[:-7])
        await eventually(lambda: len(daemon.engine.states()) == 2, "two streams")
        await eventually(lambda: daemon.status().refused >= 5, "the refusals")
    assert {s.stream for s in daemon.engine.states()} == {"sine/0", "sine/1"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a small file system needs rights that we do not have")
    yield place
    subprocess.run(["umount", "-l", place], check=False)


async def test_a_full_file_system_is_an_alarm_and_ends_when_there_is_room(tmp_path, small_disk):
    daemon = Process(tmp_path, alarm_log__path=f"{small_disk}/log.db", state__checkpoint_s=0.2)
    ballast = small_disk / "ballast"
    with daemon:
        async with open_outlet(daemon.samples, "signals") as outlet:
            await send(sine(samples=1000), outlet, speed=0)
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(b"x" * 4096):
                    pass
            sending = asyncio.create_task(send(sine("sine/2", samples=100_000), outlet, speed=100))
            await eventually(lambda: "cannot be written" in daemon.text(), "the full disk to be noticed")
            before = await all_of(daemon, 1000)
            ballast.unlink()
            await eventually(lambda: "can be written again" in daemon.text(), "the room to be noticed")
            sending.cancel()
            sent = await sending
        after = await all_of(daemon, sent.samples, "sine/2")
        assert daemon.stop() == 0
    assert (before.received, before.missing) == (1000, 0)
    assert (after.received, after.missing) == (sent.samples, 0)
    check_database(daemon.db)
    assert "Traceback" not in daemon.text()


async def test_a_quota_on_the_file_is_as_a_full_disk(tmp_path):
    """A limit on file size instead of a mount: SQLite's writes fail with EFBIG, and the log stays whole."""
    limit_kib = 400
    daemon = Process(tmp_path, state__checkpoint_s=0.2)
    with (tmp_path / "daemon.log").open("ab") as log:
        daemon.process = subprocess.Popen(  # noqa: ASYNC220
            ["sh", "-c", f'ulimit -f {limit_kib * 2}; exec "$@"', "sh", *daemon.command], stderr=log
        )
    try:
        wait_until(lambda: "listening on" in daemon.text(), "the daemon")
        async with open_outlet(daemon.samples, "signals") as outlet:
            sent = await send(sine(samples=60_000, spikes=60.0), outlet, speed=0)
        ledger = await all_of(daemon, sent.samples)
        await eventually(lambda: "cannot be written" in daemon.text(), "the quota to be noticed")
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    assert (ledger.received, ledger.missing) == (60_000, 0)
    check_database(daemon.db)


async def test_sigterm_in_the_middle_of_a_load_finishes_what_was_read(tmp_path):
    """Everything that was acknowledged is in the log, the exit is 0 and within the deadline."""
    daemon = Process(tmp_path).start()
    try:
        async with open_outlet(daemon.reliable, "signals") as outlet:
            sending = asyncio.create_task(send(sine(samples=30_000, spikes=60.0), outlet, speed=0))
            await eventually(lambda: outlet.acknowledged > 300, "some of it")
            assert await asyncio.to_thread(daemon.stop) == 0
            daemon.start(wait=False)
            await asyncio.wait_for(sending, 40)
            await outlet.flush()
        ledger = await all_of(daemon, 30_000)
    finally:
        daemon.kill()
    assert (ledger.received, ledger.missing, ledger.late) == (30_000, 0, 0)


def test_a_second_daemon_of_one_identity_is_refused_by_name(tmp_path):
    with Process(tmp_path) as first:
        second = subprocess.run(
            [sys.executable, "-m", "monitor", "run", "--set", f"alarm_log.path={first.db}"],
            capture_output=True, text=True, check=False, env={**os.environ}, timeout=30,
        )  # fmt: skip
        assert second.returncode == 2
        assert f"process {first.process.pid}" in second.stderr
        assert first.stop() == 0


def test_a_corrupt_alarm_log_is_refused_at_the_start(tmp_path):
    (tmp_path / "log.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "run", "--set", f"alarm_log.path={tmp_path}/log.db",
         "--set", f"feed.control=ipc://{tmp_path}/c"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "alarm log" in done.stderr
    assert "Traceback" not in done.stderr
