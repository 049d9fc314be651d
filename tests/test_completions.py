"""Completion, asked for as each shell does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.documents import BIN

ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def script(shell: str) -> str:
    command = [sys.executable, "-m", "monitor", "completions", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def completed(line: str) -> set[str]:
    """What bash offers at the end of `line`."""
    words = line.split(" ")
    ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _monitor_completion monitor; "
    ask += "printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{ask}"], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_and_options():
    assert completed("monitor re") == {"replay", "record", "reload"}
    assert "--no-such" not in completed("monitor replay --")
    assert {"--drop", "--verify"} <= completed("monitor replay --")
    assert completed("monitor completions ") == {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_are_theirs(shell, tmp_path):
    file = tmp_path / "completion"
    file.write_text(script(shell))
    assert f"_MONITOR_COMPLETE={shell}_complete" in file.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its script is not tried")
    subprocess.run([shell, "--no-execute" if shell == "fish" else "-n", file], check=True)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_commands(tmp_path):
    file = tmp_path / "monitor.fish"
    file.write_text(script("fish"))
    ask = ["fish", "--no-config", "-c", f"source {file}; complete -C 'monitor re'"]
    environment = {**ENVIRONMENT, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(ask, env=environment, capture_output=True, text=True, check=True)
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"replay", "record", "reload"}


def test_another_shell_is_wrong_usage():
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "completions", "cmd"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "fish" in done.stderr
