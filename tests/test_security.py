"""Nobody is let in who is not known, and no secret is shown: real keys, real certificates, a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trustme
import zmq

from monitor.config import Config, Mqtt
from monitor.configfile import load_config
from monitor.control import Acknowledge, Client, GetStatus, Overview
from monitor.core.blocks import Alarm
from monitor.core.errors import ConfigError, MonitorError, Unreachable
from monitor.core.wire import encode_block
from monitor.keys import make_key, read_allowed, read_key, write_key
from monitor.outlets import open_outlet
from monitor.senders import send
from monitor.sockets import Socket
from tests.conftest import Broker, eventually, free_port, start_broker
from tests.daemons import received, running, settings, sine

pytestmark = [
    pytest.mark.usefixtures("cut_connections"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECRET = "the-very-secret-word"


@pytest.fixture
def ring(tmp_path):
    """The daemon's key, and those of clients with different rights."""
    daemon = make_key("daemon")
    keys = {name: make_key(name, daemon.public) for name in ("bed", "nurse", "chief", "stranger")}
    write_key(daemon, tmp_path / "daemon.key")
    may = {"bed": "send", "nurse": "watch", "chief": "watch,control"}
    lines = ["# who may what", *(f"{keys[name].public} {name} {what}" for name, what in may.items())]
    (tmp_path / "allowed.keys").write_text("\n".join(lines) + "\n")
    return {"daemon": daemon, **keys}


def locked(folder, **more):
    ports = iter([free_port() for _ in range(4)])
    return settings(
        folder,
        zeromq={
            "listen": f"tcp://127.0.0.1:{next(ports)}",
            "listen_reliable": f"tcp://127.0.0.1:{next(ports)}",
        },
        feed={"publish": f"tcp://127.0.0.1:{next(ports)}", "control": f"tcp://127.0.0.1:{next(ports)}"},
        keys={"secret_file": f"{folder}/daemon.key", "allowed_file": f"{folder}/allowed.keys"},
        **more,
    )


async def test_who_is_allowed_sends_watches_and_commands(tmp_path, models, ring):
    config = locked(tmp_path)
    bed, chief = ring["bed"].client_options(), ring["chief"].client_options()
    async with running(config, models) as daemon:
        for stream, to in (
            ("sine/1", config.zeromq.listen),
            ("sine/2", "reliable+" + config.zeromq.listen_reliable),
        ):
            async with open_outlet(to, "signals", bed) as outlet:
                await send(sine(stream, samples=300), outlet, speed=0)
        await eventually(received(daemon, 300), "the samples")
        await eventually(received(daemon, 300, "sine/2"), "the samples on the reliable way")
        async with Client(config.feed.control, keys=chief) as client:
            assert len((await client.ask(GetStatus(), Overview)).streams) == 2
            assert await client.ask(Acknowledge("nobody"), list[Alarm]) == []
        async with Client(config.feed.control, keys=ring["daemon"].client_options()) as client:  # the owner's own
            assert await client.ask(Acknowledge("nobody"), list[Alarm]) == []
        feed = Socket(zmq.SUB, connect=config.feed.publish, options=ring["nurse"].client_options())
        feed.subscribe(b"")
        assert (await asyncio.wait_for(feed.receive(), 10))[0][0]
        feed.close()
    assert daemon.doors.gate.refused == 0


async def test_who_watches_may_ask_but_not_command(tmp_path, models, ring):
    config = locked(tmp_path)
    async with running(config, models), Client(config.feed.control, keys=ring["nurse"].client_options()) as client:
        assert (await client.ask(GetStatus(), Overview)).streams == []
        with pytest.raises(MonitorError, match="may ask, but not command: acknowledge"):
            await client.ask(Acknowledge(""), list[Alarm])


async def knock(kind, address, options, payload=(b"",)):
    """Try to get something through to, or out of, a socket; what came back."""
    socket = Socket(kind, connect=address, options=options)
    if kind == zmq.SUB:
        socket.subscribe(b"")
    heard = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.7):
            if kind == zmq.XPUB:
                await socket.receive()
            if kind != zmq.SUB:
                socket.send(*payload)
            heard = await socket.receive()
    socket.close()
    return heard


@pytest.mark.parametrize("who", ["without a key", "an unknown key", "the wrong daemon", "the wrong role"])
async def test_a_stranger_gets_nothing_and_the_log_says_so(tmp_path, models, ring, who, caplog):
    config = locked(tmp_path)
    elsewhere = make_key("x", make_key("y").public)
    options, says = {
        "without a key": ({}, "without a key"),
        "an unknown key": (ring["stranger"].client_options(), f"unknown key {ring['stranger'].public}"),
        "the wrong daemon": (elsewhere.client_options(), "encrypted for another daemon"),
        "the wrong role": (None, "may not"),
    }[who]
    block = next(sine(samples=10))
    samples = (b"signals/sine/1/samples", encode_block(block))
    doors = {
        "send": (zmq.XPUB, config.zeromq.listen, samples),
        "reliable": (zmq.DEALER, config.zeromq.listen_reliable, (bytes(8), bytes(8), *samples)),
        "watch": (zmq.SUB, config.feed.publish, ()),
        "control": (zmq.DEALER, config.feed.control, (b"1", msgspec.msgpack.encode(GetStatus()))),
    }
    wrong = {"send": "nurse", "reliable": "nurse", "watch": "bed", "control": "bed"}
    async with running(config, models) as daemon:
        heard = await asyncio.gather(
            *(
                knock(kind, address, ring[wrong[door]].client_options() if options is None else options, payload)
                for door, (kind, address, payload) in doors.items()
            )
        )
        await eventually(lambda: daemon.doors.gate.refused >= 4, "all four to be turned away")
        assert heard == [[], [], [], []]
        assert daemon.engine.states() == []
    said = [r.message for r in caplog.records if "refused a connection" in r.message]
    assert len(said) in (3, 4)  # both ways in for samples are one complaint
    assert all(says in line for line in said)
    secrets = [key.secret for key in ring.values()]
    assert not any(secret in record.getMessage() for secret in secrets for record in caplog.records)


def test_keys_are_made_for_the_owner_alone(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "monitor", "keys", *arguments],
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip

    daemon = run("daemon")
    assert daemon.stdout.strip() == read_key(tmp_path / "daemon.key").public
    assert stat.S_IMODE((tmp_path / "daemon.key").stat().st_mode) == 0o600
    client = run("bed-7", "--server", "daemon.key", "--may", "send,watch")
    (tmp_path / "allowed").write_text(client.stdout)
    ((raw, allowed),) = read_allowed(tmp_path / "allowed").items()
    assert (len(raw), allowed.name, allowed.may) == (32, "bed-7", {"send", "watch"})
    again = run("daemon")
    assert (again.returncode, again.stdout) == (2, "")
    assert "daemon.key exists" in again.stderr
    assert run("a", "--may", "dance").returncode == 2
    assert read_key(tmp_path / "daemon.key").secret not in daemon.stdout + daemon.stderr + client.stderr
    assert read_key(tmp_path / "daemon.key").secret not in repr(read_key(tmp_path / "daemon.key"))


def test_a_bad_key_file_says_what_was_expected_and_shows_nothing(tmp_path):
    key = make_key("a")
    file = tmp_path / "a.key"
    for text in (f'secret = "{key.secret}', f'secret = "{key.secret}"', "", "\x00"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="expected name, public, secret") as caught:
            read_key(file)
        assert key.secret not in str(caught.value)
    file.write_text(f'name = "a"\npublic = "{make_key("b").public}"\nsecret = "{key.secret}"')
    with pytest.raises(ConfigError, match="not the public key of secret") as caught:
        read_key(file)
    assert key.secret not in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        read_key(tmp_path / "none")
    for line in ("short bed send", f"{key.public} bed", f"{key.public} bed dance", f"{key.public} owner send"):
        (tmp_path / "allowed").write_text(f"\n# comment\n{line}\n")
        with pytest.raises(ConfigError, match="line 3"):
            read_allowed(tmp_path / "allowed")


def test_control_is_bound_to_this_machine_unless_there_are_keys(tmp_path):
    for address in ("tcp://0.0.0.0:5557", "tcp://*:5557", "tcp://192.168.1.2:5557", "tcp://[::]:5557"):
        with pytest.raises(ConfigError, match="can be reached from other machines, and there are no keys"):
            load_config(None, {}, [("feed.control", address)])
        load_config(None, {}, [("feed.control", address), ("keys.secret_file", "k")])
    for address in ("tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1", "ipc:///run/monitor/control"):
        load_config(None, {}, [("feed.control", address)])


# --- MQTT ---------------------------------------------------------------------------------------------------


@pytest.fixture
def walled(tmp_path):
    """A broker that speaks only TLS and wants a user and password."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("localhost")
    own.cert_chain_pems[0].write_to_path(tmp_path / "broker.pem")
    own.private_key_pem.write_to_path(tmp_path / "broker.key")
    (tmp_path / "password").write_text(SECRET + "\n")
    extra = (
        f', tls {{ cert_file: "{tmp_path}/broker.pem", key_file: "{tmp_path}/broker.key" }}'
        f', authorization {{ username: "ward", password: "{SECRET}" }}'
    )
    running = start_broker(tmp_path, free_port(), extra)
    yield running
    running.process.kill()
    running.process.wait()


def over_tls(broker: Broker, folder: Path, **more):
    right = {
        "host": "localhost", "port": broker.port, "tls": True, "ca_file": f"{folder}/ca.pem", "username": "ward",
        "password_file": f"{folder}/password", "reconnect_max_s": 0.2,
    }  # fmt: skip
    return settings(folder, mqtt={**right, **more})


@pytest.mark.broker
@pytest.mark.xdist_group("broker")
async def test_tls_and_password_open_the_broker(tmp_path, models, walled, caplog):
    caplog.set_level(logging.DEBUG)
    config = over_tls(walled, tmp_path)
    async with running(config, models) as daemon:
        await eventually(lambda: daemon.doors.sources[-1].connected, "the subscription")
        mqtt = msgspec.structs.replace(config.mqtt, username="")
        to = f"mqtts://ward@localhost:{walled.port}"
        async with open_outlet(to, "signals", mqtt=mqtt) as outlet:
            await send(sine(samples=200), outlet, speed=0)
        await eventually(received(daemon, 200), "the samples")
    assert SECRET not in caplog.text


@pytest.mark.broker
@pytest.mark.xdist_group("broker")
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"password_file": "", "password": "guess"}, "ot authori"),
        ({"username": "", "password_file": ""}, "ot authori"),
        ({"ca_file": "other.pem"}, "certificate verify failed"),
        ({"host": "127.0.0.1"}, "IP address mismatch"),
    ],
)
async def test_a_wrong_password_or_certificate_gets_nothing_and_the_log_says_so(
    tmp_path,
    models,
    walled,
    wrong,
    says,
    caplog,
):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    if wrong.get("ca_file"):
        wrong = {"ca_file": f"{tmp_path}/other.pem"}
    async with running(over_tls(walled, tmp_path, **wrong), models) as daemon:
        await eventually(lambda: says in caplog.text, f"the log to say {says!r}")
        assert not daemon.doors.sources[-1].connected
        assert daemon.engine.states() == []
    mqtt = over_tls(walled, tmp_path, **wrong).mqtt
    with pytest.raises(Unreachable, match=says):
        async with open_outlet(f"mqtts://{mqtt.host}:{walled.port}", "signals", mqtt=mqtt):
            pass
    assert SECRET not in caplog.text
    assert "guess" not in caplog.text


async def test_files_that_cannot_be_used_are_configuration_errors(tmp_path, models):
    (tmp_path / "bad.pem").write_text("no certificate")
    for wrong, says in (
        ({"ca_file": f"{tmp_path}/none.pem"}, r"mqtt\.ca_file.*none\.pem"),
        ({"ca_file": f"{tmp_path}/bad.pem"}, r"mqtt\.ca_file.*bad\.pem"),
        ({"cert_file": f"{tmp_path}/bad.pem", "key_file": f"{tmp_path}/bad.pem"}, r"mqtt\.cert_file"),
        ({"password_file": f"{tmp_path}/none"}, r"mqtt\.password_file"),
    ):
        config = settings(tmp_path, mqtt={"host": "localhost", "tls": True, **wrong})
        with pytest.raises(ConfigError, match=says):
            async with running(config, models):
                pass


# --- secrets --------------------------------------------------------------------------------------------------


def test_no_secret_is_ever_shown(tmp_path):
    """`monitor config`, `check`, `run` and their errors, with the password from every place it may come from."""
    (tmp_path / "password").write_text(SECRET)
    file = tmp_path / "m.toml"

    def monitor(*arguments, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "monitor", *arguments],
            capture_output=True, text=True, cwd=tmp_path, check=False, env={**os.environ, **environment},
        )  # fmt: skip
        assert SECRET not in done.stdout + done.stderr
        return done

    given = {"MONITOR_MQTT__PASSWORD": SECRET}
    assert "(hidden)" in monitor("config", "--origin", **given).stdout
    assert json.loads(monitor("config", "--json", **given).stdout)["mqtt"]["password"] == "(hidden)"
    file.write_text(f'[mqtt]\npassword = "{SECRET}"\n')
    assert "(hidden)" in monitor("config", "--origin", "--config", "m.toml").stdout
    assert monitor("config", "--set", f"mqtt.password={SECRET}").returncode == 2
    for text in (
        f'[mqtt]\npassword = "{SECRET}\n',
        f'[mqtt]\npassword = ["{SECRET}"]\n',
        f"[mqtt]\npassword = {SECRET}\n",
    ):
        file.write_text(text)
        assert monitor("check", "--config", "m.toml").returncode == 2
    assert monitor("simulate", "--to", f"mqtt://ward:{SECRET}@localhost").returncode == 2
    assert monitor("simulate", "--to", "mqtt://ward@127.0.0.1:1", **given).returncode == 3


def test_secrets_are_not_read_as_toml_and_not_in_a_repr():
    config, _ = load_config(None, {"MONITOR_MQTT__PASSWORD": "1234"})
    assert config.mqtt.password == "1234"
    config = msgspec.convert({"mqtt": {"password": SECRET}}, Config)
    assert SECRET not in repr(config)
    assert SECRET not in f"{config} {config.mqtt}"
    with pytest.raises(msgspec.ValidationError, match="tls = true"):
        msgspec.convert({"ca_file": "x"}, Mqtt)
