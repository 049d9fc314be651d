"""docs/cluster.md: its commands are ones; what they do is tested beside this."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from monitor.cli import cli
from tests.documents import ROOT, commands

COMMANDS = commands((ROOT / "docs" / "cluster.md").read_text())


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("monitor ")])
def test_every_word_of_a_command_is_understood(command):
    words = command.split()[1:]
    verbs = [word for word in words if word.isalpha()][: 2 if words[0] == "cluster" else 1]
    shown = CliRunner().invoke(cli, [*verbs, "--help"])
    assert shown.exit_code == 0
    assert all(word in shown.output for word in words if word.startswith("--"))
    assert all((ROOT / word).is_file() for word in words if word.startswith("deploy/"))


def test_the_rest_is_run_elsewhere():
    others = [line for line in COMMANDS if not line.startswith("monitor ")]
    assert others == ["make demo-cluster"]
    assert '"demo-cluster"' in (ROOT / "tests" / "cluster" / "test_demo.py").read_text()
