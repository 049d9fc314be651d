"""The table of faults in tests/README.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_row_names_a_test_that_there_is():
    rows = [line for line in (HERE / "README.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 13
    for row in rows:
        named = re.findall(r"`([^`]+)`", row.split("|")[2])
        assert named, row
        for name in named:
            path, _, test = name.partition("::")
            assert (HERE / path).exists(), name
            assert not test or f"def {test}(" in (HERE / path).read_text(), name
