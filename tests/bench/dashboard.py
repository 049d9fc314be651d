"""The budgets of the dashboard, measured in a real pseudo-terminal: CPU and bytes a frame, time to a waveform.

    python -m tests.bench.dashboard [--seconds 8] [--json]

Exit code 1 when one is exceeded. CPU is that of the whole dashboard process, Textual and sockets included, so that
a busy machine changes little; the feed runs in this process, the dashboard in a child.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import NamedTuple

from tests.dashboard.measure import Scene, measure


class Budget(NamedTuple):
    """What is measured, and how much of it is allowed."""

    what: str
    figure: str
    at_most: float
    unit: str
    scene: Scene


LANE = Scene(columns=190, rows=39, streams="lane")
SIX = Scene(columns=190, rows=39, streams="six")
WHOLE = Scene(columns=140, rows=44, streams="all")
BUDGETS = (
    Budget("one lane of 160x24, scrolling", "cpu_ms_a_frame", 6, "ms", LANE),
    Budget("one lane of 160x24, sweeping", "cpu_ms_a_frame", 6, "ms", LANE._replace(keys="s")),
    Budget("one lane of 160x24, sweeping", "kib_a_frame", 4, "KiB", LANE._replace(keys="s")),
    Budget("six lanes", "cpu_ms_a_frame", 12, "ms", SIX),
    Budget("whole screen of 140x44", "cpu_ms_a_frame", 16, "ms", WHOLE),
    Budget("attach to first waveform", "first_waveform_s", 1.5, "s", WHOLE),
)
CROWD = WHOLE._replace(extra=196)
CROWD_FACTOR = 1.2
GROWTH_MIB = 8.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    measured: dict[Scene, dict[str, float]] = {}

    def figures(scene: Scene) -> dict[str, float]:
        if scene not in measured:
            measured[scene] = measure(scene._replace(seconds=args.seconds))
        return measured[scene]

    rows = [(b.what, b.figure, figures(b.scene)[b.figure], b.at_most, b.unit) for b in BUDGETS]
    crowd = figures(CROWD)["cpu_ms_a_frame"] / figures(WHOLE)["cpu_ms_a_frame"]
    rows.append(("200 streams against 4", "cpu_ms_a_frame", crowd, CROWD_FACTOR, "times"))
    hour = measure(LANE._replace(hour=True))
    rows.append(("memory after an hour of data", "growth_mib", hour["growth_mib"], GROWTH_MIB, "MiB"))
    if args.json:
        found = [{"what": w, "figure": f, "value": v, "at_most": m, "unit": u} for w, f, v, m, u in rows]
        print(json.dumps(found, indent=2))  # noqa: T201
    else:
        for what, figure, value, at_most, unit in rows:
            verdict = "" if value <= at_most else "  EXCEEDED"
            print(f"{what:32} {figure:18} {value:8.2f} {unit:6} of {at_most:g}{verdict}")  # noqa: T201
    return int(any(value > at_most for _, _, value, at_most, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
