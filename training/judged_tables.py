"""The figures of an evaluation as tables to be read."""

from __future__ import annotations

import math
from typing import Any

from training.both_ways import both_ways_table
from training.exercises.result import Cell, Table, text_of

_AHEAD_S = (0.014, 0.056, 0.097, 0.153, 0.25, 0.5, 1.0)

Figures = dict[str, Any]


def tables_of(told: Figures) -> str:
    """What `training evaluate` prints without --json."""
    make = {"beats": _beat_tables, "forecast": _forecast_tables, "classify": _event_tables}
    tables = make[told["task"]](told)
    if "leapfrog" in told:
        tables.append(both_ways_table(told))
    return "\n\n\n".join(text_of(table) for table in tables)


def _rows(told: Figures) -> list[tuple[str, Figures]]:
    """Name and figures of each record and, where there are several, of them all."""
    rows = list(told["records"].items())
    return rows if len(rows) == 1 else [*rows, ("total", told["total"])]


def _cell(value: float, digits: int = 2) -> Cell:
    return None if math.isnan(value) else f"{value:.{digits}f}"


def _beat_tables(told: Figures) -> list[Table]:
    total = told["total"]
    classes = [name for name in total["confusion"]["called"][1:] if name in total]
    rows: list[tuple[Cell, ...]] = []
    for name, one in _rows(told):
        beats = one["beats"]
        row: list[Cell] = [name, one.get("lead", ""), beats["annotated"]]
        row += [_cell(beats[key]) for key in ("se", "ppv", "f1")]
        for kind in ("V", "S"):
            if kind in classes:
                row += [one[kind]["annotated"], *(_cell(one[kind][key]) for key in ("se", "ppv", "f1"))]
                row.append(_cell(one[kind]["false_per_hour"], 1))
        row += [_cell(one["delay_s"]["median"], 3), _cell(one["delay_s"]["p95"], 3)]
        row += [_cell(one["offset_ms"]["sd"], 1), _cell(one["heart_rate_bpm"]["mean_absolute_error"])]
        rows.append(tuple(row))
    columns = ["record", "lead", "beats", "Se %", "+P %", "F1 %"]
    for kind in ("V", "S"):
        if kind in classes:
            columns += [kind, f"{kind} Se", f"{kind} +P", f"{kind} F1", "false/h"]
    columns += ["delay s", "p95", "offset sd ms", "rate error bpm"]
    note = (
        "ANSI/AAMI EC57, beat by beat, 150 ms, whole records; delay from the beat until it is told; "
        f"{total['beats']['missed_while_warming_up']} beats came before any window was full and count as missed."
    )
    return [
        Table(f"{told['model']} on {told['data']}", tuple(columns), rows, note),
        _alarm_table(total, classes),
        _control_table(total),
        _confusion_table(total),
    ]


def _alarm_table(total: Figures, classes: list[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in classes:
        one = total[name]
        rows.append(
            (
                name, one["annotated"], *(_cell(one[key]) for key in ("se", "ppv", "f1")), one["false"],
                _cell(one["false_per_hour"], 1),
                *_alarm_cells(one.get("alarms")),
            )
        )  # fmt: skip
    columns = ("class", "beats", "Se %", "+P %", "F1 %", "false calls", "an hour", "alarms", "false", "an hour ")
    return Table(
        "Classes, all records together", columns, rows, "An alarm is one for as long as such beats go on."
    )


def _alarm_cells(alarms: Figures | None) -> tuple[Cell, ...]:
    if alarms is None:
        return (None, None, None)
    return alarms["raised"], alarms["false"], _cell(alarms["false_per_hour"], 1)


def _control_table(total: Figures) -> Table:
    controls, beats = total["controls"], total["beats"]
    rows: list[tuple[Cell, ...]] = [
        ("finding beats: the model", *(_cell(beats[key]) for key in ("se", "ppv", "f1")), None, None),
        (
            "finding beats: slope detector",
            *(_cell(controls["slope_detector"][key]) for key in ("se", "ppv", "f1")),
            None,
            None,
        ),
    ]
    names = {
        "model": "the model's probability",
        "energy": "energy of the beat",
        "prematurity": "how early it comes",
    }
    for kind in ("V", "S"):
        for key, meaning in names.items():
            if kind in controls:
                told = controls[kind][key]
                rows.append(
                    (
                        f"ranking {kind}: {meaning}",
                        None,
                        None,
                        None,
                        _cell(told["auroc"], 4),
                        _cell(told["auprc"], 4),
                    )
                )
    note = "The controls without a model are given the annotated positions; the slope detector the whole record."
    return Table("Beside what needs no model", ("", "Se %", "+P %", "F1 %", "AUROC", "AUPRC"), rows, note)


def _confusion_table(total: Figures) -> Table:
    confusion = total["confusion"]
    rows: list[tuple[Cell, ...]] = [
        (name, *counts) for name, counts in zip(confusion["annotated"], confusion["counts"], strict=True)
    ]
    note = "Rows as annotated ('-': nothing there), columns as called ('-': missed)."
    return Table("Confusion, beats", ("", *confusion["called"]), rows, note)


def _forecast_tables(told: Figures) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    baselines = list(told["total"]["forecast"]["baselines"])
    for name, one in _rows(told):
        found = one["forecast"]
        row: list[Cell] = [name, one.get("lead", ""), found["forecasts"], found["mse"], found["mse_over_variance"]]
        row += [found["baselines"][key]["mse_over_variance"] for key in baselines]
        row += [_cell(100 * found["skill"], 1), _cell(found["coverage"], 1)]
        rows.append(tuple(row))
    columns = ("record", "lead", "forecasts", "MSE", "MSE/variance", *baselines, "skill %", "in interval %")
    promised = told["total"]["forecast"]["coverage_promised"]
    note = (
        "Mean over the horizon; baselines as MSE over variance, fitted on the first fifth (at most 5 minutes) of "
        f"each recording, which is not judged; skill against persistence; the interval promises {promised:g} %."
    )
    title = f"{told['model']} on {told['data']}"
    tables = [Table(title, columns, rows, note), _horizon_table(told["total"]["forecast"], baselines)]
    total = told["total"]["forecast"]
    if "ventricular_beats" in total:
        told_beats = total["ventricular_beats"]
        ranked: list[tuple[Cell, ...]] = [
            (name.replace("_", " "), _cell(one["auroc"], 4), _cell(one["auprc"], 4))
            for name, one in told_beats.items()
            if isinstance(one, dict)
        ]
        count = f"{told_beats['ventricular']} of {told_beats['beats']} beats"
        tables.append(Table(f"Ranking ventricular beats ({count})", ("score", "AUROC", "AUPRC"), ranked))
    if "events" in total:
        tables += _event_rows([(name, one["forecast"]["events"]) for name, one in _rows(told)], "deviation")
    return tables


def _horizon_table(total: Figures, baselines: list[str]) -> Table:
    found = total["by_horizon"]
    seconds = found["seconds"]
    steps = sorted({min(range(len(seconds)), key=lambda i: abs(seconds[i] - s)) for s in _AHEAD_S})
    columns = ("ahead, s", *(f"{seconds[i]:.3f}" for i in steps))
    rows: list[tuple[Cell, ...]] = [
        (name, *(_cell(found["mse_over_variance"][name][i], 4) for i in steps)) for name in ("model", *baselines)
    ]
    rows.append(("in interval %", *(_cell(found["coverage"][i], 1) for i in steps)))
    return Table("By horizon: mean squared error over variance, all records together", columns, rows)


def _event_tables(told: Figures) -> list[Table]:
    tables = []
    for label in [name for name in told["total"] if name not in ("records", "seconds")]:
        tables += _event_rows([(name, one[label]) for name, one in _rows(told)], label)
    tables[0] = Table(f"{told['model']} on {told['data']}: {tables[0].title}", *_rest(tables[0]))
    return tables


def _rest(table: Table) -> tuple[tuple[str, ...], list[tuple[Cell, ...]], str]:
    return table.columns, table.rows, table.note


def _event_rows(named: list[tuple[str, Figures]], label: str) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    for name, one in named:
        alarms, delay = one["alarms"], one["delay_s"]
        rows.append(
            (
                name, one["events"], *(_cell(one[key]) for key in ("se", "ppv", "f1")), one["false"],
                _cell(one["false_per_hour"], 2), _cell(delay["median"], 3), _cell(delay["max"], 3),
                alarms["raised"], alarms["false"],
            )
        )  # fmt: skip
    columns = (
        "record", "events", "Se %", "+P %", "F1 %", "false runs", "an hour", "delay s", "most", "alarms", "false",
    )  # fmt: skip
    last = named[-1][1]
    ranked: list[tuple[Cell, ...]] = [("the monitor's score", _cell(last["auroc"], 4), _cell(last["auprc"], 4))]
    ranked += [
        (name.replace("_", " "), _cell(one["auroc"], 4), _cell(one["auprc"], 4))
        for name, one in last["controls"].items()
    ]
    return [
        Table(f"events: {label}", columns, rows, "Per event, never point-adjusted."),
        Table(f"Ranking windows: {label}", ("score", "AUROC", "AUPRC"), ranked),
    ]
