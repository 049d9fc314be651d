"""Databases are fetched where `fit --data` looks for them, and where that fails one line says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from training.cli import cli

wfdb = pytest.importorskip("wfdb")


def test_records_come_to_where_fit_looks_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(database: str, folder: str) -> None:
        Path(folder, "100.hea").write_text(database)

    monkeypatch.setattr(wfdb, "dl_database", download)
    result = CliRunner().invoke(cli, ["fetch", "mitdb", "--out", str(tmp_path)])
    assert result.exit_code == 0
    assert (tmp_path / "mitdb" / "100.hea").read_text() == "mitdb"
    assert result.stdout.strip() == str(tmp_path / "mitdb")
    assert "ODC-By" in result.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [(ConnectionError("no route\nto host"), "is there a network"), (KeyError("x"), "cannot fetch")],
)
def test_no_network_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def fail(database: str, folder: str) -> None:
        raise error

    monkeypatch.setattr(wfdb, "dl_database", fail)
    result = CliRunner().invoke(cli, ["fetch", "mitdb", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert says in result.stderr.splitlines()[-1]
