"""The verbs over runs: `sweep`, `compare`, `report` and `patients`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.plainly import speaks_plainly

if TYPE_CHECKING:
    from training.config import FitConfig


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--over", multiple=True, metavar="KEY=V,V,...", help="A key and the values to try; more than once.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any other key of the configuration.")
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Folder that holds the records.")
@click.option("--sampler", type=click.Choice(["grid", "tpe"]), default="grid", show_default=True)
@click.option("--trials", type=click.IntRange(min=1), help="At most so many; by default the grid, or 20 with tpe.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Fits at the same time.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--storage", type=click.Path(path_type=Path), help="SQLite file; OUT/sweeps.db by default.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@speaks_plainly
def sweep(
    config: Path,
    over: tuple[str, ...],
    sets: tuple[str, ...],
    folder: Path | None,
    sampler: str,
    trials: int | None,
    jobs: int,
    out: Path,
    storage: Path | None,
    json_: bool,
) -> None:
    """Fit CONFIG once for each way to set the keys of --over, and rank them by validation loss.

    Stopped, the same command goes on where it was.
    """
    import json

    from training.config import load_config
    from training.exercises.result import text_of
    from training.ranking import rank, ranking_json, ranking_table, warning_of
    from training.sweep import Plan, Value, read_over
    from training.sweep import sweep as run_sweep

    def configure(values: dict[str, Value]) -> FitConfig:
        return load_config(config, [*sets, *(f"{key}={json.dumps(value)}" for key, value in values.items())])

    plan = Plan(load_config(config, sets), read_over(over), configure, sampler, trials or 0)  # type: ignore[arg-type]
    where = storage or out / "sweeps.db"
    if warning := warning_of(plan.over):
        click.echo(warning, err=True)
    ended = run_sweep(plan, folder, out, where, jobs=jobs, say=lambda text: click.echo(text, err=True))
    settings = rank(ended)
    if json_:
        click.echo(
            json.dumps({"study": plan.study, "storage": str(where), "settings": ranking_json(settings)}, indent=2)
        )
    else:
        click.echo(text_of(ranking_table(settings, f"sweep {plan.study} in {where}")))
    if not any(trial.run for trial in ended):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Folder that holds the records.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into this PNG.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@speaks_plainly
def compare(runs: tuple[Path, ...], folder: Path | None, out: Path | None, json_: bool) -> None:
    """Set finished RUNs side by side: accuracy, size, training and inference time, forms of forecasting."""
    import json

    from training.compare import compare as measure
    from training.compare import comparison_json, comparison_table, differing_keys, draw_comparison
    from training.exercises.result import text_of
    from training.ranking import warning_of

    compared = measure(list(runs), folder, lambda text: click.echo(text, err=True))
    if warning := warning_of(differing_keys(compared)):
        click.echo(warning, err=True)
    if out:
        draw_comparison(compared, out)
        click.echo(f"wrote {out}", err=True)
    if json_:
        click.echo(json.dumps(comparison_json(compared), indent=2))
    else:
        click.echo(text_of(comparison_table(compared)))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Folder that holds the records.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; RUN/report.html by default.")
@speaks_plainly
def report(run: Path, folder: Path | None, out: Path | None) -> None:
    """Show a finished RUN as one HTML file that opens anywhere, without a network."""
    from training.report import report as write

    click.echo(str(write(run, folder, out)))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--without", default="", metavar="RECORD,...", help="Leave these records out of the figures.")
@click.option("--json", "json_", is_flag=True, help="Print JSON, with what was right and wrong of every record.")
@speaks_plainly
def patients(run: Path, without: str, json_: bool) -> None:
    """How the beat model of a finished RUN did on patients left out: on one lead, on two, and with noise."""
    import msgspec

    from training.exercises.result import text_of
    from training.patients import check_without, patients_json, patients_table, read_patients
    from training.runs import read_config

    told = read_patients(run)
    names = [name.strip() for name in without.split(",") if name.strip()]
    check_without(told, names)
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(patients_json(told, names)), indent=2).decode())
    else:
        click.echo(text_of(patients_table(told, f"{read_config(run).name}, patients left out", names)))
