"""`training anomalies`: what the monitor finds in series whose anomalies are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.plainly import speaks_plainly

if TYPE_CHECKING:
    from training.exercises.result import Cell


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--rate-hz", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True,
    help="Of files without a column of times.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--tolerance", type=click.IntRange(0), default=100, show_default=True,
    help="Samples by which the highest score may lie beside an anomaly.",
)  # fmt: skip
@click.option(
    "--budget", "budget_per_day", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
    help="False alarms a day that may come.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@speaks_plainly
def anomalies(
    data: tuple[Path, ...],
    rate_hz: float,
    seed: int,
    tolerance: int,
    budget_per_day: float,
    out: Path,
    json_: bool,
) -> None:
    """Learn a forecaster from the beginning of each series in DATA, watch all of it, and tell what was found.

    DATA are files or folders: of the UCR Anomaly Archive (NAME_LEARN_BEGIN_END.txt), or of the Numenta Anomaly
    Benchmark (.csv, with its windows.json beside them). The series are watched as `monitor run` would.
    """
    import json

    from training.anomalies import find_cases, judge_all

    def say(text: str) -> None:
        click.echo(text, err=True)

    cases = find_cases(data, rate_hz)
    told = judge_all(cases, out, say, seed=seed, tolerance=tolerance, budget_per_day=budget_per_day)
    click.echo(json.dumps(told, indent=2) if json_ else _table(told, budget_per_day))


def _table(told: dict[str, Any], budget_per_day: float) -> str:
    from training.exercises.result import Table, text_of

    names = list(told["total"]["controls_found"])
    rows: list[tuple[Cell, ...]] = []
    for one in told["series"]:
        top, alarms, known = one["highest_score"], one["alarms"], bool(one["anomalies"])
        row: list[Cell] = [one["name"][:44], one["learned"], one["model"]["samples_per_step"]]
        row += ["yes" if top["found"] else f"no, at {top['at']}"] if known else [None]
        row += [f"{top['over_next_best']:.2f}" if known and top["over_next_best"] else None]
        row += (
            ["yes" if one["controls"].get(name, {}).get("found") else "no" for name in names]
            if known
            else ([None] * len(names))
        )
        row += [f"{alarms['found']} of {alarms['anomalies']}", alarms["false"], f"{alarms['allowed']:.1f}"]
        rows.append(tuple(row))
    total = told["total"]
    last: list[Cell] = [
        "together",
        None,
        None,
        f"{total['highest_score_found']} of {total['with_anomalies']}",
        None,
    ]
    last += [f"{total['controls_found'][name]} of {total['with_anomalies']}" for name in names]
    last += [f"{total['anomalies_with_alarm']} of {total['anomalies']}", total["false_alarms"]]
    rows.append((*last, f"{total['false_alarms_allowed']:.1f}"))
    columns = ("series", "learned", "samples a step", "highest score found it", "over the next", *names,
               "anomalies with an alarm", "false alarms", "allowed")  # fmt: skip
    note = (
        f"Highest score within {told['tolerance']} samples of the anomaly, after what was learned; 'over the "
        "next': that score over the highest one elsewhere. The plain controls are averaged over as many samples. "
        f"Budget: {budget_per_day:g} false alarms a day."
    )
    return text_of(Table("Anomalies in series", columns, rows, note))
