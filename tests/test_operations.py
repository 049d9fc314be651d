"""Running it: reload, metrics, health, logs, systemd. Real processes and sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Config
from monitor.control import Client, Reload
from monitor.core.card import CARD_KEY
from monitor.core.errors import ConfigError
from monitor.endpoint import Endpoint, Page, answer
from monitor.inference import find_models
from monitor.logs import JsonLines
from monitor.metrics import Metric, exposition
from monitor.notify import Notifier
from monitor.outlets import open_outlet
from monitor.pipeline import Pipeline
from monitor.reload import merge
from monitor.senders import send
from tests.conftest import eventually, free_port, wait_until
from tests.daemons import received, running, settings, sine
from tests.processes import Process

SHIPPED = find_models(None)


def newer(source: Path, target: Path, version: str) -> None:
    """The same model under another version; put in its place in one step, as a careful operator does."""
    model = onnx.load(source)
    for entry in model.metadata_props:
        if entry.key == CARD_KEY:
            entry.value = json.dumps({**json.loads(entry.value), "version": version})
    part = target.with_suffix(".part")
    onnx.save(model, part)
    part.replace(target)


# --- reload -----------------------------------------------------------------------------------------------------


async def test_a_changed_model_file_takes_over_without_losing_a_sample(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(SHIPPED["sine-spikes"], folder / "sine-spikes.onnx")
    streams = '[{name = "sine/*", models = ["sine-spikes"], rate_hz = 50.0}]'
    with Process(tmp_path, models=folder, streams=streams) as daemon:
        async with open_outlet(daemon.samples, "signals") as outlet:
            sending = asyncio.create_task(send(sine(samples=100_000, spikes=20.0), outlet, speed=200))
            newer(SHIPPED["sine-spikes"], folder / "sine-spikes.onnx", "2")
            await eventually(lambda: "now sine-spikes@2" in daemon.text(), "the new model")
            (folder / "sine-spikes.onnx").write_bytes(b"\x08\x08 no model at all")
            await eventually(lambda: "the old one goes on" in daemon.text(), "the bad model to be refused")
            state = (await daemon.states())["sine/1"]
            assert state.models == ("sine-spikes@2",)
            (folder / "sine-spikes.onnx").unlink()  # the shipped one is found again
            await eventually(lambda: daemon.text().count("now sine-spikes@") == 2, "the shipped model")
            sending.cancel()
            sent = await sending

        # Not a window is lost either: there is one every 5 samples from the 50th on.
        while (state := (await daemon.states())["sine/1"]).windows < (sent.samples - 50) // 5 + 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert daemon.stop() == 0
    print(f"three reloads in a load: {state.ledger}")  # noqa: T201
    assert (state.ledger.received, state.ledger.missing, state.ledger.runs) == (sent.samples, 0, 1)
    assert "Traceback" not in daemon.text()


async def test_sighup_and_the_command_read_the_configuration_again(tmp_path):
    file = tmp_path / "m.toml"
    rule = '[[streams]]\nname = "sine/*"\nmodels = ["sine-spikes"]\nrate_hz = 50.0\n'
    file.write_text(rule)
    with Process(tmp_path, file=file) as daemon:
        async with open_outlet(daemon.samples, "signals") as outlet:
            await send(sine(samples=500), outlet, speed=0)
            file.write_text(
                rule.replace('"sine-spikes"', '"sine-spikes", "sine-forecast"')
                + '[http]\nlisten = "127.0.0.1:1"\n'
            )
            daemon.process.send_signal(signal.SIGHUP)
            await eventually(lambda: "now sine-forecast@" in daemon.text(), "the second model")
            await eventually(
                lambda: "http.listen: changed, and needs a restart" in daemon.text(), "what cannot be had"
            )
            assert len((await daemon.states())["sine/1"].models) == 2
            async with Client(daemon.control, 20) as client:
                file.write_text("[[streams]]\nnam = 1\n")
                (said,) = await client.ask(Reload(), list[str])
                assert "not reloaded" in said
                assert "nam" in said
                file.write_text(rule)
                assert await client.ask(Reload(), list[str]) == ["fine"]
            state = (await daemon.states())["sine/1"]
            assert len(state.models) == 1
        assert state.ledger.received == 500
        assert daemon.stop() == 0


async def test_allowed_keys_are_read_again(tmp_path, models):
    from monitor.keys import make_key, write_key

    daemon_key, bed = make_key("daemon"), make_key("bed")
    write_key(daemon_key, tmp_path / "daemon.key")
    allowed = tmp_path / "allowed"
    allowed.write_text("")
    config = settings(
        tmp_path,
        zeromq={"listen": f"tcp://127.0.0.1:{free_port()}"},
        keys={"secret_file": f"{tmp_path}/daemon.key", "allowed_file": str(allowed)},
    )
    bed = msgspec.structs.replace(bed, server=daemon_key.public)
    async with running(config, models) as daemon:
        allowed.write_text(f"{bed.public} bed send\n")
        await daemon.reload()
        async with open_outlet(config.zeromq.listen, "signals", bed.client_options()) as outlet:
            await send(sine(samples=100), outlet, speed=0)
        await eventually(received(daemon, 100), "the samples")
        allowed.write_text("nonsense\n")
        with pytest.raises(ConfigError, match="line 1"):
            await daemon.reload()
        assert daemon.doors.gate.may("bed", "send")  # the old ones go on


def test_what_can_be_had_without_a_restart_is_taken_and_the_rest_is_named():
    old = Config()
    new = msgspec.convert(
        {"name": "x", "inference": {"max_batch": 7, "max_waiting": 9}, "feed": {"queue": 5}, "streams": []}, Config
    )
    taken, restart = merge(old, new)
    assert (taken.inference.max_batch, taken.inference.max_waiting) == (7, old.inference.max_waiting)
    assert taken.streams == ()
    assert (taken.name, taken.feed) == (old.name, old.feed)
    assert set(restart) == {"name", "inference.max_waiting", "feed.queue"}


# --- metrics and health -----------------------------------------------------------------------------------------


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answered:
            return answered.status, answered.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_metrics_and_health_over_http(tmp_path, models, monkeypatch):
    config = settings(
        tmp_path,
        http={"listen": "127.0.0.1:0"},
        mqtt={"host": "127.0.0.1", "port": 1, "reconnect_max_s": 0.2},
    )
    async with running(config, models) as daemon:
        await eventually(lambda: daemon.endpoint.port, "the port")
        at = f"http://127.0.0.1:{daemon.endpoint.port}"
        async with open_outlet(config.zeromq.listen, "signals") as outlet:
            await send(sine(samples=500), outlet, speed=0)
        await eventually(received(daemon, 500), "the samples")
        status, text = await asyncio.to_thread(fetch, f"{at}/metrics")
        assert status == 200
        assert await asyncio.to_thread(fetch, f"{at}/healthz") == (200, '{"status": "ok", "problems": []}\n')
        status, body = await asyncio.to_thread(fetch, f"{at}/readyz")
        assert (status, json.loads(body)["problems"]) == (503, ["no MQTT broker at 127.0.0.1:1"])
        assert (await asyncio.to_thread(fetch, f"{at}/other"))[0] == 404
        with monkeypatch.context() as patch:
            patch.setattr(Pipeline, "busy_s", 1e9)  # a turn that began when the machine did
            assert "stuck" in (await asyncio.to_thread(fetch, f"{at}/healthz"))[1]
    samples = dict(re.findall(r"^(foretrace_\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE))
    assert float(samples['foretrace_samples_received_total{stream="sine/1"}']) == 500
    assert float(samples['foretrace_samples_missing_total{stream="sine/1"}']) == 0
    assert float(samples['foretrace_source_connected{source="mqtt"}']) == 0
    assert float(samples["foretrace_alarm_log_writable"]) == 1
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) foretrace_\w+ .+|foretrace_\w+(\{(\w+="[^"]*",?)+\})? \S+', line), line
    declared = re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)
    assert len(declared) == len(set(declared))
    assert {re.match(r"\w+", line).group() for line in samples} <= set(declared)


def test_labels_are_escaped():
    text = exposition([Metric("x", "gauge", "help", [({"a": 'q"\\\n'}, 1.0), ({}, float("nan"))])])
    assert text.splitlines()[2:] == ['foretrace_x{a="q\\"\\\\\\n"} 1']


@given(st.binary(max_size=200))
def test_any_request_gets_an_answer(head):
    reply = answer(head + b"\r\n\r\n", {"/x": lambda: Page(200, "text/plain", "fine")})
    assert reply.startswith(b"HTTP/1.1 ")


def test_an_answer_for_each_kind_of_request():
    pages = {"/x": lambda: Page(200, "text/plain", "fine")}
    for request, status, ends in (
        (b"GET /x?y=1 HTTP/1.1", b"200", b"\r\n\r\nfine"),
        (b"HEAD /x HTTP/1.0", b"200", b"\r\n\r\n"),
        (b"POST /x HTTP/1.1", b"405", b"HEAD\n"),
        (b"GET /y HTTP/1.1", b"404", b"/x\n"),
        (b"nonsense", b"400", b"\n"),
    ):
        reply = answer(request + b"\r\nHost: a\r\n\r\n", pages)
        assert reply.split(b" ")[1] == status
        assert reply.endswith(ends)


async def test_a_slow_or_endless_request_is_given_up(monkeypatch):
    monkeypatch.setattr("monitor.endpoint.PATIENCE_S", 0.2)
    endpoint = Endpoint("127.0.0.1:0", {})
    serving = asyncio.create_task(endpoint.run())
    await eventually(lambda: endpoint.port, "the port")
    for sent in (b"GET /", b"x" * 100_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(sent)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            said = await asyncio.wait_for(reader.read(), 5)
        assert said == b"" or said.startswith(b"HTTP/1.1 400")
        writer.close()
    serving.cancel()


async def test_an_address_that_cannot_be_had_is_a_configuration_error():
    for listen in ("nonsense", "127.0.0.1:99999", "127.0.0.1:x"):
        with pytest.raises(ConfigError, match=r"http\.listen"):
            await Endpoint(listen, {}).run()


# --- logs and systemd -------------------------------------------------------------------------------------------


def test_logs_are_json_on_request(tmp_path):
    with Process(tmp_path, log__format="json") as daemon:
        assert daemon.stop() == 0
    lines = [json.loads(line) for line in daemon.text().splitlines()]
    assert {"time", "level", "logger", "message"} == set(lines[0])
    assert [line["message"] for line in lines][-2:] == ["stopping", "stopped"]
    warned = "import warnings, monitor.logs; monitor.logs.log_to_stderr(style='json'); warnings.warn('odd')"
    told = subprocess.run([sys.executable, "-c", warned], capture_output=True, text=True, check=True).stderr
    assert "odd" in json.loads(told)["message"]
    why = (ValueError, ValueError("why"), None)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "a %s\nline", ("b",), why)
    line = json.loads(JsonLines().format(record))
    assert line["message"] == "a b\nline"
    assert "ValueError: why" in line["exception"]
    assert "\n" not in JsonLines().format(record)


def test_systemd_hears_ready_alive_reloading_and_stopping(tmp_path):
    address = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)
        heard: list[str] = []

        def said(word):
            try:
                while True:
                    heard.append(manager.recv(4096).decode())
            except BlockingIOError:
                return any(word in message for message in heard)

        env = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"}
        with Process(tmp_path, env=env) as daemon:
            wait_until(lambda: said("READY=1"), "READY")
            wait_until(lambda: said("WATCHDOG=1") and sum("WATCHDOG" in m for m in heard) > 3, "a heart beat")
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: said("RELOADING=1") and sum("READY=1" in m for m in heard) == 2, "the reload")
            assert daemon.stop() == 0
            assert said("STOPPING=1")
        assert "MONOTONIC_USEC=" in next(m for m in heard if "RELOADING" in m)
        assert "STATUS=0 streams" in next(m for m in heard if "WATCHDOG" in m)


def test_without_systemd_nothing_is_said_and_another_process_watchdog_is_not_ours():
    Notifier({}).ready()
    assert Notifier({}).watchdog_s == 0
    assert Notifier({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}).watchdog_s == 0
    assert Notifier({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 2
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).ready()
