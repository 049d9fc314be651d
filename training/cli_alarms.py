"""`training budget`: whether false-alarm budgets are kept, and what warnings are worth; `training tail`."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.commandline import NewFile
from training.plainly import speaks_plainly


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path),
    help="Folder that holds mitdb/ and nab/, for real signals; simulated ones without.",
)  # fmt: skip
@click.option(
    "--streams", type=click.IntRange(1), default=50, show_default=True, help="Simulated ones of each kind."
)
@click.option("--hours", type=click.FloatRange(0.1), default=16.0, show_default=True, help="Length of each.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--figure", type=NewFile(), help="Draw it into this SVG file.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@speaks_plainly
def budget(
    data: Path | None, streams: int, hours: float, seed: int, jobs: int, figure: Path | None, json_: bool
) -> None:
    """Watch quiet signals with budgets of 0.1, 1 and 6 alarms an hour, and drifts on their way to a limit.

    Says how many alarms came for each that was allowed; what a budget costs in bursts found and delay, beside
    fixed levels and the dynamic threshold of telemanom; and how early and how surely a limit was foreseen, of
    values and of heart rates.
    """
    import json

    from training.budgets import evaluate_budgets
    from training.early_warning import evaluate_warnings
    from training.rate_warning import evaluate_rates

    def say(text: str) -> None:
        click.echo(text, err=True)

    told = evaluate_budgets(data, say, streams=streams, hours=hours, seed=seed, jobs=jobs)
    told["early"] = evaluate_warnings(data, say, streams=2 * streams, seed=seed)
    told["early"] += evaluate_rates(data, say, streams=2 * streams, seed=seed)
    if figure is not None:
        from training.report_budgets import draw

        figure.write_text(draw(told), encoding="utf-8")
        say(f"{figure}")
    if json_:
        click.echo(json.dumps(told, indent=2))
        return
    from training.report_budgets import tables_of

    click.echo(tables_of(told))


@click.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=NewFile(), required=True, help="The model with what was learned.")
@speaks_plainly
def tail(model: str, data: Path, out: Path) -> None:
    """Learn what tail MODEL's deviations have, from the records in DATA that are not quiet, where they are quiet.

    A false-alarm budget begins with it, before it knows a stream's own. The quiet records are what `training
    budget` judges by.
    """
    from monitor.inference import load_model
    from training.cards import write_with
    from training.evaluate import model_path
    from training.quiet_ecgs import is_quiet_record, learn_tail, records_of

    asked = load_model(model_path(model))
    learned, table = learn_tail(asked, [record for record in records_of(data) if not is_quiet_record(record)])
    for row in table:
        click.echo(f"tail {row['tail']:g}: {row['raised']} alarms, {row['allowed']:.1f} allowed", err=True)
    write_with(asked, out, tail=learned)
    click.echo(str(out))
