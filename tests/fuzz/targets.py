"""What is fed with bytes: each target takes any, and may only end in the one error type that its part promises.

Used by the tests (hypothesis) and by `python -m tests.fuzz.run` (atheris).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from monitor import control
from monitor.cluster.frozen import freeze, thaw
from monitor.cluster.shard import build_engine
from monitor.configfile import load_config, shown_config
from monitor.core.engine import Engine
from monitor.core.errors import ConfigError, ModelError, MonitorError, RecordingError, SchemaError
from monitor.core.evidence import Evidence
from monitor.core.published import decode_event, decode_forecast, decode_scores, decode_state
from monitor.core.senml import decode_senml
from monitor.core.wire import decode_block, encode_block
from monitor.dashboard.plot import draw_evidence, forecast_text, window_text
from monitor.dashboard.raster import BRAILLE
from monitor.endpoint import Page, answer
from monitor.keys import read_allowed, read_key
from monitor.labels import lines_of, read_labels
from monitor.modelfile import check_file
from monitor.recordings import read_recording
from monitor.reload import load_models


def wire(data: bytes) -> None:
    """A message becomes a block that survives its own encoding, or a SchemaError."""
    for stream in ("", "ecg/1"):
        with contextlib.suppress(SchemaError):
            block = decode_block(data, stream)
            again = decode_block(encode_block(block), block.stream)
            assert again.values.shape == block.values.shape
            assert (again.run, again.seq, again.t0_ns, again.rate_hz) == (
                block.run, block.seq, block.t0_ns, block.rate_hz,
            )  # fmt: skip


def senml(data: bytes) -> None:
    """A pack becomes blocks that survive their encoding, or a SchemaError."""
    for stream in ("", "room"):
        with contextlib.suppress(SchemaError):
            blocks = decode_senml(data, stream)
            assert len({block.stream for block in blocks}) == len(blocks)
            for block in blocks:
                again = decode_block(encode_block(block), block.stream)
                assert again.values.tobytes() == block.values.tobytes()
                assert (again.t0_ns, again.rate_hz, again.unit) == (block.t0_ns, block.rate_hz, block.unit)


def published(data: bytes) -> None:
    """What a client hears is a message, or a SchemaError."""
    for decode in (decode_event, decode_forecast, decode_scores, decode_state):
        with contextlib.suppress(SchemaError):
            decode(data)


def evidence(data: bytes) -> None:
    """Why an alarm was raised can be told and drawn, or the answer is a SchemaError."""
    with contextlib.suppress(SchemaError):
        found = control.read_reply(
            msgspec.msgpack.encode(control._Reply(data=msgspec.Raw(data))), Evidence, "fuzz"
        )
        told = window_text(found, "noon"), forecast_text(found.foreseen)
        assert all(told)
        for rows, columns in ((18, 80), (5, 20)):
            assert draw_evidence(found, rows, columns, BRAILLE).glyph.shape == (rows, columns)


def labels(data: bytes) -> None:
    """A file is labels that survive being written, or a RecordingError."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(RecordingError):
        file = Path(folder) / "l.jsonl"
        file.write_bytes(data)
        found = read_labels(file)
        file.write_text("\n".join(lines_of(found)), encoding="utf-8")
        assert sorted(map(repr, read_labels(file))) == sorted(map(repr, found))


@functools.cache
def _maker() -> Callable[[], Engine]:
    config = load_config(None, {})[0]
    return functools.partial(build_engine, config, load_models(config))


def frozen(data: bytes) -> None:
    """What is thawed is the state of an engine, or a SchemaError."""
    for state in (data, zlib.compress(data, 0)):
        with contextlib.suppress(SchemaError):
            thaw(state, _maker()())


def config(data: bytes) -> None:
    """A file is a configuration, or a ConfigError; so are the environment and flags."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.toml"
        file.write_bytes(data)
        with contextlib.suppress(ConfigError):
            msgspec.json.encode(shown_config(load_config(file, {})[0]))
    text = data.decode("utf-8", "replace")
    key, _, value = text.partition("=")
    with contextlib.suppress(ConfigError):
        load_config(None, {f"MONITOR_{key}": value, "MONITOR_MQTT__PORT": value}, [(key.lower(), value)])


def keys(data: bytes) -> None:
    """A file is a key, or a list of clients, or a ConfigError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "k"
        file.write_bytes(data)
        for read in (read_key, read_allowed):
            with contextlib.suppress(ConfigError):
                read(file)


def commands(data: bytes) -> None:
    """A request gets a reply that the client can read, whatever it is."""

    def answered(request: control.Request) -> object:
        if isinstance(request, control.GetHistory) and len(request.stream) % 2:
            raise MonitorError("refused")
        return None

    reply = asyncio.run(control._answer(data, answered, lambda _: len(data) % 3 > 0))
    msgspec.msgpack.decode(msgspec.msgpack.encode(reply), type=control._Reply)


def http(data: bytes) -> None:
    """A request gets an answer of HTTP."""
    assert answer(data, {"/metrics": lambda: Page(200, "text/plain", "x")}).startswith(b"HTTP/1.1 ")


def _recording(suffix: str) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"r{suffix}"
            file.write_bytes(data)
            if suffix == ".hea":
                (Path(folder) / "r.dat").write_bytes(data[::-1])
                (Path(folder) / "r.atr").write_bytes(data[: len(data) // 2])
            for rate_hz in (None, 100.0):
                with contextlib.suppress(RecordingError):
                    recording = read_recording(file, rate_hz)
                    assert recording.values.ndim == 2

    target.__doc__ = f"A {suffix} file is a recording, or a RecordingError."
    return target


def model(data: bytes) -> None:
    """A model file is plain, or a ModelError; onnxruntime never sees what is not."""
    with contextlib.suppress(ModelError):
        check_file(data, "fuzz")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "wire": wire,
    "senml": senml,
    "published": published,
    "evidence": evidence,
    "labels": labels,
    "frozen": frozen,
    "config": config,
    "keys": keys,
    "commands": commands,
    "http": http,
    "csv": _recording(".csv"),
    "wfdb": _recording(".hea"),
    "edf": _recording(".edf"),
    "model": model,
}


def seeds() -> dict[str, list[bytes]]:
    """For each target, inputs that mean something, to begin from."""
    import numpy as np

    from monitor.core.blocks import Alarm, Block, Event, Kind, State
    from monitor.core.evidence import Foreseen
    from monitor.core.published import encode
    from monitor.inference import find_models

    lived = _maker()()
    lived.push(Block("sine/1", np.ones((60, 1), np.float32), "r", 0, 10**18, 50.0), 10**18, 0)
    wave = np.sin(np.arange(160) / 5).astype("<f4").tobytes()
    foreseen = Foreseen("f@1", 10**18, 50.0, 2, "mV", wave[:320], wave, wave, wave)
    block = Block("ecg/1", np.ones((4, 2), np.float32), "r", 5, 10**18, 360.0, ("I", "II"), "mV")
    sample = (Path(__file__).parents[2] / "deploy" / "monitor.toml").read_bytes()
    requests = (
        control.GetStatus(),
        control.GetAlarms(active=True),
        control.GetHistory("s", 3.0),
        control.Reload(),
    )
    head = b"r 2 250 20\nr.dat 16 200(0)/mV 16 0 0 0 0 I\nr.dat 16 200(0)/mV 16 0 0 0 0 II\n"
    return {
        "wire": [
            encode_block(block),
            b'{"values": [[0.1, null], [2, 3e9]], "channels": ["a", "b"], "rate_hz": 50, "seq": 7, "run": "x"}',
        ],
        "senml": [
            b'[{"bn":"urn:dev:a:","bt":1.7e9,"bu":"mV","bv":1,"bver":10,"n":"x","v":1},{"n":"x","t":0.5,"v":2}]',
            b'[{"n":"temp","u":"Cel","t":-1,"v":23.1},{"n":"hum","u":"%RH","v":40},{"n":"l","vs":"x_","y_":1}]',
        ],
        "published": [
            encode(Event("s", Kind.CLASS, "V", 1, 2, 3, 0.5, 0.5)),
            encode(Alarm("id", "s", Kind.LIMIT, "hr", "high", State.ACTIVE, 1, 2, 0.5, 0.5)),
        ],
        "evidence": [
            msgspec.msgpack.encode(Evidence("a", "s", model, 0.9, 0.5, 10**18, 50.0, 1, "mV", wave, foreseen))
            for model in ("f@1", "m@2")
        ]
        + [msgspec.msgpack.encode({"alarm": "?"}).replace(b"?", b"\xbf")],
        "labels": [
            b'{"stream":"s","start_ns":1,"end_ns":2,"label":"V","verdict":"true","alarm":"a"}\n',
            b'{"stream":"s","start_ns":3,"end_ns":3,"label":"moved","text":"a cable","author":"ann"}\n\n',
            b'{"x":' * 5000,
        ],
        "frozen": [zlib.decompress(freeze(engine, _maker()())) for engine in (_maker()(), lived)]
        + [b"\x91" * 5000],
        "config": [sample, b"MQTT__HOST=a", b'[[streams]]\nname = "a*"\nheart_rate_bpm = [1, 2]\n'],
        "keys": [
            b'name = "a"\npublic = "' + b"a" * 40 + b'"\nsecret = "' + b"a" * 40 + b'"\n',
            b"a" * 40 + b" bed send",
        ],
        "commands": [msgspec.msgpack.encode(request) for request in requests],
        "http": [b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"],
        "csv": [b"time,a,label\n0,1,\n0.02,,V\n0.04,3,\n", b"1;2\n3;4\n", b"2024-01-01T00:00:00,1\n"],
        "wfdb": [head],
        "edf": [b"0       " + b" " * 244 + b"1   " + b" " * 256],
        "model": [find_models(None)["sine-spikes"].read_bytes()],
    }
