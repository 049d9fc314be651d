"""Wheel and sdist, built and used outside the checkout; and the man pages in them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.documents import ROOT

pytestmark = pytest.mark.slow


def build(source: Path, out: Path, *targets: str) -> None:
    flags = [part for target in targets for part in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *flags]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist."""
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out, "wheel", "sdist")
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment with the wheel, whose dependencies are those of this one; nothing is downloaded."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "env", with_pip=False)
    python = place / "env" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, built[0]], check=True, capture_output=True, timeout=120)
    (site,) = (place / "env" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "env"


def run(installed: Path, *command: str, cwd: Path, env: dict[str, str] | None = None, expect: int = 0) -> str:
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [installed / "bin" / command[0], *command[1:]],
        cwd=cwd, env={**kept, **(env or {})}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done.stdout


def test_it_runs_outside_the_checkout(installed, tmp_path):
    where = run(installed, "python", "-c", "import monitor; print(monitor.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed))
    assert "--headless" in run(installed, "monitor", "demo", "--help", cwd=tmp_path)
    assert "fit" in run(installed, "training", "--help", cwd=tmp_path)
    models = run(installed, "monitor", "models", "--json", cwd=tmp_path)
    assert {row["name"] for row in json.loads(models)} >= {"ecg-beats", "ecg-forecast", "sine-spikes"}
    assert all(row["path"].startswith(str(installed)) for row in json.loads(models))


def test_a_sample_stream_that_came_with_it_is_replayed_to_a_daemon_that_came_with_it(installed, tmp_path):
    addresses = ("ZEROMQ__LISTEN", "FEED__PUBLISH", "FEED__CONTROL")
    env = {f"MONITOR_{key}": f"ipc://{tmp_path}/{key[:5]}{key[-4:]}" for key in addresses}
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [installed / "bin" / "monitor", "run"], cwd=tmp_path, env={**kept, **env}, stderr=log
        )
    try:
        wait_until(lambda: "listening on" in (tmp_path / "log").read_text(), "the daemon")
        sent = run(installed, "monitor", "replay", "noisy-sine", "--stream", "sine/1", "--speed", "0",
                   cwd=tmp_path, env=env)  # fmt: skip
        assert json.loads(sent)["samples"] == 6000
        ask = ("monitor", "alarms", "--json")
        wait_until(lambda: len(json.loads(run(installed, *ask, cwd=tmp_path, env=env))) > 10, "alarms")
    finally:
        daemon.terminate()
        assert daemon.wait(10) == 0


def test_every_name_of_a_sample_is_one(installed, tmp_path):
    out = run(installed, "monitor", "replay", "no-such", cwd=tmp_path, expect=2)
    assert out == ""
    code = "from monitor.recordings import *; from monitor.recordings import sample_names as n; print(*n())"
    assert run(installed, "python", "-c", code, cwd=tmp_path).split() == sorted(
        path.stem for path in (ROOT / "sample_streams").glob("*.csv")
    )


def test_what_others_look_for_lies_where_they_look(installed):
    share = installed / "share"
    assert (share / "man" / "man1" / "monitor.1").read_text() == (ROOT / "docs" / "man" / "monitor.1").read_text()
    assert (share / "foretrace" / "monitor.service").is_file()


def test_the_sample_configuration_comes_along_and_is_one(installed, tmp_path):
    sample = run(installed, "monitor", "config", "--sample", cwd=tmp_path)
    assert sample == (ROOT / "deploy" / "monitor.toml").read_text()
    (tmp_path / "mine.toml").write_text(sample)
    run(installed, "monitor", "check", "--config", "mine.toml", cwd=tmp_path)


def test_the_sdist_makes_the_same_wheel_and_has_what_tests_need(built, tmp_path):
    wheel, sdist = built
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "again", "wheel")
    (again,) = (tmp_path / "again").glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert {(i.filename, i.CRC) for i in first.infolist()} == {(i.filename, i.CRC) for i in second.infolist()}
    for needed in (
        "Makefile",
        "README.md",
        "LICENSE",
        "tests/conftest.py",
        "docs/senders.md",
        "deploy/monitor.toml",
    ):
        assert (source / needed).is_file()


def test_the_wheel_brings_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"monitor", "training", "foretrace"}
    assert not [name for name in names if name.endswith((".db", ".log")) or "__pycache__" in name]
    assert "monitor/models/ecg-beats.onnx" in names
    assert "monitor/dashboard/app.tcss" in names


def generator():
    spec = importlib.util.spec_from_file_location("man", ROOT / "docs" / "man.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_man_pages_say_what_the_commands_say():
    for name, text in generator().pages().items():
        assert (ROOT / "docs" / "man" / name).read_text() == text, "run `make man`"


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pytest.mark.parametrize("name", ["monitor.1", "training.1"])
def test_man_finds_nothing_wrong_with_them(name):
    command = ["man", "--warnings=w", "-E", "UTF-8", "-l", "-Tutf8", str(ROOT / "docs" / "man" / name)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "MANWIDTH": "80"}
    )
    assert done.stderr == ""
    assert "EXIT STATUS" in re.sub(r".\x08", "", done.stdout)  # bold is overstruck


def test_text_that_roff_would_take_for_orders():
    plain = generator().plain
    assert plain(".TH evil\n'br\n\\fB-x") == "\\&.TH evil\n\\&'br\n\\efB\\-x"
