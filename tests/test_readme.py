"""The README's commands are run as they stand there, against a daemon started as it says; docs/: test_docs.py."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from tests.documents import DAEMON, ROOT, check_training_command, commands, daemon, run, surroundings

# In one process and in their order: what one command shows, another has brought about.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("readme")]

README = (ROOT / "README.md").read_text()
SAMPLES_README = (ROOT / "sample_streams" / "README.md").read_text()

COMMANDS = [line for text in (README, SAMPLES_README) for line in commands(text)]
ELSEWHERE = {
    "make demo": "test_make_demo_in_a_pipe",
    "make test": "this very run",
    DAEMON: "the fixture below",
}
TRAINING = [line for line in COMMANDS if line.startswith("training ")]
PLAIN = [line for line in COMMANDS if line not in ELSEWHERE and line not in TRAINING]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The README's daemon, its addresses moved so that tests may run side by side."""
    assert DAEMON in COMMANDS
    environment = surroundings(tmp_path_factory.mktemp("readme"))
    with daemon(environment):
        yield environment


def test_every_command_is_one_that_a_test_runs():
    assert COMMANDS[0] == "make demo"
    assert {line.split()[0] for line in PLAIN} == {"monitor"}
    assert set(ELSEWHERE) <= set(COMMANDS)


def test_every_extra_is_named():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [extra for extra in extras if f"`{extra}`" not in README] == []


@pytest.mark.parametrize("command", PLAIN)
def test_a_command_of_the_readme_runs(command, environment):
    done = run(command, environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("target", ["demo", pytest.param("demo-mqtt", marks=pytest.mark.broker)])
def test_make_demo_in_a_pipe(target):
    """On the environment that runs this test, taken as installed."""
    stamps = [part for name in (".demo", ".demo-mqtt", ".dev") for part in ("-o", f"{sys.prefix}/{name}")]
    done = subprocess.run(
        ["make", "--silent", target, f"VENV={sys.prefix}", "DEMO=--for 4", *stamps],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"missing": 0' in done.stdout.splitlines()[-1]


def test_make_test_runs_the_checks_and_the_tests():
    done = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    for tool in ("ruff check", "mypy", "lint-imports", "pytest"):
        assert tool in done.stdout


@pytest.mark.parametrize("command", TRAINING)
def test_a_training_command_of_the_readme_is_understood(command):
    check_training_command(command)
