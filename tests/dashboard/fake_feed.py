"""A daemon that is not there: real sockets, simulated streams, everything that the real one publishes.

    python -m tests.dashboard.fake_feed --feed tcp://127.0.0.1:5601 --control tcp://127.0.0.1:5602

Streams are pure functions of their sample index, so that the forecast can be "what would have come without the
anomaly", which is what a good model would say.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import time
from collections import deque

import msgspec
import numpy as np
import zmq

from monitor.control import Acknowledge, GetAlarms, GetHistory, GetStatus, History, Overview, Request, serve
from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Forecast, Kind, Score, State
from monitor.core.errors import MonitorError
from monitor.core.published import LedgerCounts, Status, StreamState, encode, encode_forecast
from monitor.core.wire import encode_block
from monitor.sockets import Socket

T0_NS = 1_262_304_000 * NS  # replayed from another year, as recordings are
MODEL = "ecg-forecast@3"

NORMAL = (
    (-0.19, 0.025, 0.11),
    (-0.035, 0.010, -0.10),
    (0.0, 0.011, 1.15),
    (0.032, 0.011, -0.22),
    (0.27, 0.055, 0.26),
)
VENTRICULAR = ((-0.02, 0.040, 1.45), (0.13, 0.055, -0.62), (0.34, 0.07, -0.28))
LEAD_2 = (0.6, -0.7, 0.42, 1.4, 0.5)


def _bumps(t: np.ndarray, bumps, scale=None) -> np.ndarray:
    weights = scale or (1.0,) * len(bumps)
    return sum(w * a * np.exp(-(((t - mu) / s) ** 2) / 2) for (mu, s, a), w in zip(bumps, weights, strict=True))


class Ecg:
    """Two leads at 360 Hz, with a ventricular beat now and then, and a run of them."""

    rate_hz, channels, unit, block = 360.0, ("MLII", "V1"), "mV", 36
    horizon, forecast_rate_hz = 50, 60.0

    def __init__(self, name: str, bpm: float, odd_every: int, seed: int) -> None:
        self.name, self.bpm = name, bpm
        rng = np.random.default_rng(seed)
        n = 4000
        rr = 60 / bpm * (1 + 0.03 * np.sin(np.arange(n) / 3) + 0.015 * rng.standard_normal(n))
        self.is_odd = np.zeros(n, bool)
        if odd_every:
            self.is_odd[odd_every - 4 :: odd_every] = True
            self.is_odd[odd_every * 3 - 3 :: odd_every * 3] = True
            self.is_odd[odd_every * 3 - 2 :: odd_every * 3] = True
        rr[np.flatnonzero(self.is_odd) - 1] *= 0.72
        self.beats_s = np.concatenate(([0.5], 0.5 + np.cumsum(rr)))[:n]

    def at(self, t: np.ndarray, *, expected: bool = False) -> np.ndarray:
        out = np.zeros((len(t), 2))
        first, last = np.searchsorted(self.beats_s, (t[0] - 1, t[-1] + 1))
        for i in range(max(first, 0), last):
            odd = self.is_odd[i] and not expected
            dt = t - self.beats_s[i]
            if odd:
                out[:, 0] += _bumps(dt, VENTRICULAR)
                out[:, 1] += _bumps(dt, VENTRICULAR, (-0.8, -0.9, 0.6))
            else:
                out[:, 0] += _bumps(dt, NORMAL)
                out[:, 1] += _bumps(dt, NORMAL, LEAD_2) - 0.75 * np.exp(-(((dt - 0.03) / 0.016) ** 2) / 2)
        wander = 0.05 * np.sin(2 * math.pi * 0.22 * t)[:, None]
        if expected:
            return out + wander
        noise = np.random.default_rng(int(t[0] * 1000) % 2**32).standard_normal(out.shape)
        return out + wander + 0.012 * noise

    def width(self, steps: int) -> np.ndarray:
        return 0.06 + 0.10 * np.sqrt(np.arange(1, steps + 1) / steps)


class Sine:
    """A noisy sine with a spike now and then."""

    rate_hz, channels, unit, block = 50.0, ("",), "", 5
    horizon, forecast_rate_hz = 50, 50.0

    def __init__(self, name: str, hz: float, spike_every_s: float, seed: int) -> None:
        self.name, self.hz, self.spike_every_s, self.seed = name, hz, spike_every_s, seed

    def at(self, t: np.ndarray, *, expected: bool = False) -> np.ndarray:
        out = np.sin(2 * math.pi * self.hz * t) + 0.3 * np.sin(2 * math.pi * self.hz * 2.7 * t + 1)
        if not expected:
            out = out + 0.04 * np.random.default_rng(int(t[0] * 1000) + self.seed).standard_normal(len(t))
            since = (t + 5) % self.spike_every_s
            out = out + np.where(since < 0.25, 1.6 * np.sin(since / 0.25 * math.pi), 0.0)
        return out[:, None]

    def width(self, steps: int) -> np.ndarray:
        return 0.12 + 0.25 * np.arange(1, steps + 1) / steps


class FakeDaemon:
    """Publishes and answers; data time moves when `step` is called."""

    def __init__(self, streams, *, feed="tcp://127.0.0.1:*", control="tcp://127.0.0.1:*", extra: int = 0) -> None:
        self.streams = streams
        self._feed = Socket(zmq.XPUB, bind=feed, options={zmq.SNDHWM: 10_000})
        self._control = Socket(zmq.ROUTER, bind=control)
        self.feed, self.control = self._feed.address, self._control.address
        self.position = dict.fromkeys((s.name for s in streams), 0)  # samples published
        self.history = {s.name: deque(maxlen=2000) for s in streams}
        self.events = {s.name: deque(maxlen=200) for s in streams}
        self.beats = {s.name: deque(maxlen=500) for s in streams}
        self.counts = dict.fromkeys((s.name for s in streams), 0)
        self.next_beat = dict.fromkeys((s.name for s in streams), 0)
        self.alarms: dict[str, Alarm] = {}
        self.missing = dict.fromkeys((s.name for s in streams), 0)
        self.state = "online"
        self.asked: list[Request] = []
        self.extra = extra
        self.started_ns = time.time_ns()

    def close(self) -> None:
        self._feed.close()
        self._control.close()

    async def serve(self) -> None:
        await serve(self._control, self.answer)

    def publish(self, stream: str, what: str, payload: bytes, *, to_all: bool = False) -> None:
        self._feed.drain()  # an XPUB's subscriptions
        topic = f"signals/{stream}/{what}".encode()
        self._feed.send(topic, payload)
        if to_all:
            self._feed.send(b"all/" + topic, payload)

    def answer(self, request: Request):
        self.asked.append(request)
        match request:
            case GetStatus():
                return Overview(self.status(), self.states())
            case GetAlarms():
                wanted = [a for a in self.alarms.values() if a.state is not State.CLEARED or not request.active]
                return sorted(wanted, key=lambda a: -a.raised_ns)[: request.limit]
            case Acknowledge():
                return self.acknowledge(request.id)
            case GetHistory():
                if request.stream not in self.history:
                    raise MonitorError(f"no stream {request.stream!r}")
                stream = next(s for s in self.streams if s.name == request.stream)
                blocks = list(self.history[request.stream])[
                    -round(request.seconds * stream.rate_hz / stream.block) :
                ]
                return History(blocks, list(self.events[request.stream]), list(self.beats[request.stream]))
        raise MonitorError(f"cannot do {request}")

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        changed = []
        for alarm in list(self.alarms.values()):
            if not alarm.acknowledged and alarm_id in ("", alarm.id):
                state = State.CLEARED if alarm.state is State.LATCHED else alarm.state
                alarm = msgspec.structs.replace(alarm, acknowledged=True, state=state)  # noqa: PLW2901
                changed.append(alarm)
                self.set_alarm(alarm)
        return changed

    def set_alarm(self, alarm: Alarm) -> None:
        self.alarms[alarm.id] = alarm
        self.publish(alarm.stream, "events", encode(alarm), to_all=True)

    def status(self) -> Status:
        return Status(
            "fake", "0.1.0", self.state, self.started_ns, time.time_ns(), len(self.streams) + self.extra,
            sum(self.position.values()) // 6, sum(self.counts.values()), 0, 3.1, 8.9, (MODEL,),
        )  # fmt: skip

    def states(self) -> list[StreamState]:
        found = []
        for s in self.streams:
            n = self.position[s.name]
            bpm = self.beats[s.name][-1].rate_bpm if self.beats[s.name] else math.nan
            ledger = LedgerCounts(received=n, missing=self.missing[s.name], runs=1)
            newest_ns = T0_NS + round((n - 1) * NS / s.rate_hz)
            found.append(StreamState(
                s.name, s.rate_hz, s.channels, s.unit, (MODEL,), newest_ns, n < 2 * s.rate_hz, ledger, n // 6,
                n // 6, 0, self.counts[s.name], bpm, 0.83 if isinstance(s, Ecg) else 0.95,
            ))  # fmt: skip
        return found + [self._bystander(i) for i in range(self.extra)]

    def _bystander(self, i: int) -> StreamState:
        """One of many streams that are listed and never shown."""
        return StreamState(
            f"ward/{i:03d}", 125.0, ("",), "mV", (MODEL,), T0_NS + time.monotonic_ns(), False,
            LedgerCounts(received=i * 1000), heart_rate_bpm=60.0 + i % 40,
        )  # fmt: skip

    def publish_status(self) -> None:
        self.publish("monitor", "status", encode(self.status()))

    def publish_states(self) -> None:
        for state in self.states():
            self.publish(state.stream, "state", encode(state), to_all=True)

    def step(self, stream) -> None:
        """Publish the next block of a stream and what follows from it."""
        name, n = stream.name, self.position[stream.name]
        t = (n + np.arange(stream.block)) / stream.rate_hz
        t0_ns = T0_NS + round(n * NS / stream.rate_hz)
        values = stream.at(t)[:, : len(stream.channels)].astype(np.float32)
        block = Block(name, values, "run", n, t0_ns, stream.rate_hz, stream.channels, stream.unit)
        payload = encode_block(block)
        self.history[name].append(payload)
        self.position[name] = n + stream.block
        self.publish(name, "samples", payload)
        newest_s = (n + stream.block - 1) / stream.rate_hz
        self._forecast(stream, newest_s)
        if isinstance(stream, Ecg):
            self._beats(stream, newest_s)
        else:
            self._spikes(stream, newest_s)

    def _forecast(self, stream, newest_s: float) -> None:
        ahead_s = newest_s + np.arange(1, stream.horizon + 1) / stream.forecast_rate_hz
        mean = stream.at(ahead_s, expected=True)[:, : len(stream.channels)]
        half = stream.width(stream.horizon)[:, None]
        made_ns = T0_NS + round(newest_s * NS)
        arrays = (mean, mean - half, mean + half)
        forecast = Forecast(
            stream.name, MODEL, made_ns, stream.forecast_rate_hz, *(a.astype(np.float32) for a in arrays)
        )
        self.publish(stream.name, "forecast", encode_forecast(forecast))
        deviation = 0.6 + 0.4 * abs(math.sin(newest_s))
        self.publish(
            stream.name,
            "scores",
            encode([Score(stream.name, Kind.DEVIATION, "forecast", made_ns, deviation, 4.0)]),
        )

    def _beats(self, stream: Ecg, newest_s: float) -> None:
        name = stream.name
        while stream.beats_s[self.next_beat[name]] < newest_s - 0.3:
            i = self.next_beat[name]
            self.next_beat[name] += 1
            rr = float(stream.beats_s[i] - stream.beats_s[i - 1]) if i else math.nan
            odd = bool(stream.is_odd[i])
            t_ns = T0_NS + round(stream.beats_s[i] * NS)
            rate = 60 / float(np.median(np.diff(stream.beats_s[max(i - 8, 0) : i + 1]))) if i else math.nan
            beat = Beat(name, t_ns, "V" if odd else "N", 0.97 if odd else 0.99, rr, rate, "ecg-beats@2")
            self.beats[name].append(beat)
            self.publish(name, "beats", encode(beat))
            if odd:
                self._flag(
                    name, Kind.CLASS, "V", t_ns, t_ns - 120_000_000, t_ns + 420_000_000, 0.91 + 0.06 * (i % 2), 0.8
                )
                run = stream.is_odd[max(i - 2, 0) : i + 1].sum() >= 3
                alarm = Alarm(f"{name}-V-{i - i % 4}", name, Kind.CLASS, "V", "high" if run else "medium",
                              State.ACTIVE, t_ns, t_ns, 0.97 if run else 0.91, 0.8,
                              "ecg-beats@2")  # fmt: skip
                self.set_alarm(alarm)
            elif self.alarms:
                for alarm in list(self.alarms.values()):
                    if alarm.stream == name and alarm.state is State.ACTIVE and t_ns - alarm.raised_ns > 4 * NS:
                        latches = alarm.priority == "high" and not alarm.acknowledged
                        state = State.LATCHED if latches else State.CLEARED
                        self.set_alarm(msgspec.structs.replace(alarm, state=state, changed_ns=t_ns))

    def _spikes(self, stream: Sine, newest_s: float) -> None:
        before_s = newest_s - stream.block / stream.rate_hz
        if (newest_s + 4.7) % stream.spike_every_s < (before_s + 4.7) % stream.spike_every_s:
            end = T0_NS + round(newest_s * NS)
            self._flag(stream.name, Kind.DEVIATION, "forecast", end, end - 300_000_000, end, 6.2, 4.0)
            alarm_id = f"{stream.name}-{end}"
            self.set_alarm(Alarm(alarm_id, stream.name, Kind.DEVIATION, "forecast", "low", State.ACTIVE,
                                 end, end, 6.2, 4.0, MODEL))  # fmt: skip

    def _flag(self, name, kind, label, t_ns, start_ns, end_ns, score, threshold) -> None:
        event = Event(name, kind, label, t_ns, start_ns, end_ns, score, threshold, MODEL)
        self.events[name].append(event)
        self.counts[name] += 1
        self.publish(name, "events", encode(event), to_all=True)

    def warm(self, seconds: float) -> None:
        """Live through some seconds at once, before anybody listens."""
        for stream in self.streams:
            for _ in range(round(seconds * stream.rate_hz / stream.block)):
                self.step(stream)

    async def run(self, speed: float = 1.0) -> None:
        """Publish in real time, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.serve())
            tasks.create_task(self._beat_of_the_second())
            for stream in self.streams:
                tasks.create_task(self._live(stream, speed))

    async def _beat_of_the_second(self) -> None:
        while True:
            self.publish_status()
            self.publish_states()
            await asyncio.sleep(1)

    async def _live(self, stream, speed: float) -> None:
        due = time.monotonic()
        while True:
            self.step(stream)
            due += stream.block / stream.rate_hz / speed
            await asyncio.sleep(max(due - time.monotonic(), 0))


def streams(kind: str = "all"):
    """The streams of a picture."""
    ecg = [Ecg("ecg/208", 74, 11, 1), Ecg("ecg/100", 61, 0, 2)]
    return ecg[:1] if kind == "one" else [*ecg, Sine("sine/1", 0.5, 17.0, 3), Sine("sine/2", 1.3, 29.0, 4)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--feed", default="tcp://127.0.0.1:5601")
    parser.add_argument("--control", default="tcp://127.0.0.1:5602")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--warm", type=float, default=40.0)
    parser.add_argument("--extra", type=int, default=0)
    args = parser.parse_args()
    daemon = FakeDaemon(streams(), feed=args.feed, control=args.control, extra=args.extra)
    daemon.warm(args.warm)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(daemon.run(args.speed))


if __name__ == "__main__":
    main()
