"""What stands in the documents, and a place to run it: for the tests of README.md and of docs/."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import wait_until

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DAEMON = "monitor run --config deploy/monitor.toml"


def blocks(language: str, text: str) -> list[str]:
    """The contents of all code blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Every line of its sh blocks, without the remark behind it."""
    lines = [line.partition("  #")[0].strip() for block in blocks("sh", text) for line in block.splitlines()]
    return [line for line in lines if line]


def links(text: str) -> list[str]:
    """Files that it points to."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    return [target for target in targets if not target.startswith("http")]


def workplace(folder: Path) -> Path:
    """A folder that looks like the checkout, and into which commands may write."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name not in ("runs", "models"):
            (folder / entry.name).symlink_to(entry)
    return folder


def surroundings(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a daemon and its clients whose addresses are of their own; tests may run side by side."""
    addresses = {
        "ZEROMQ__LISTEN": f"ipc://{folder}/samples",
        "ZEROMQ__LISTEN_RELIABLE": f"ipc://{folder}/reliable",
        "FEED__PUBLISH": f"ipc://{folder}/feed",
        "FEED__CONTROL": f"ipc://{folder}/control",
        "ALARM_LOG__PATH": f"{folder}/log.db",
        **settings,
    }
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **{f"MONITOR_{key}": value for key, value in addresses.items()}}


@contextlib.contextmanager
def daemon(environment: dict[str, str]) -> Iterator[None]:
    """The README's daemon, for as long as this lasts."""
    process = subprocess.Popen(DAEMON.split(), cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: run("monitor alarms", environment).returncode == 0, "the README's daemon")
        yield
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def run(
    command: str, environment: dict[str, str], cwd: Path = ROOT, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """A line, as a shell runs it."""
    return subprocess.run(
        command, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def check_training_command(command: str) -> None:
    """Trainings take minutes and need data: only that every word is one the command knows; DIR is any folder."""
    from training.cli import cli

    name, *rest = command.split()[1:]
    cli.commands[name].make_context(name, [str(ROOT) if word.isupper() else word for word in rest])
    for word in rest:
        assert not word.startswith("training/") or (ROOT / word).is_file()
