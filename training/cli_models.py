"""The verbs over a model file and labelled recordings: `training evaluate` and `noise`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from training.plainly import speaks_plainly


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--json", "json_", is_flag=True, help="Print JSON; shares are in percent.")
@click.option("--block", type=click.IntRange(1), help="Samples a block; a second's by default.")
@click.option("--records", help="Of a folder only these: a,b,...")
@click.option("--limit-seconds", type=click.FloatRange(0, min_open=True), help="Only the beginning of each.")
@click.option("--lead", default="", help="Channel to show the model; by default the one it was trained on.")
@click.option("--rate-hz", type=click.FloatRange(0, min_open=True), help="Of CSV files without a time column.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=3600.0, help="Length of a simulated signal."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of a simulated signal.")
@click.option("--spikes", type=click.FloatRange(0), help="A minute, in a simulated signal.")
@click.option("--noise", help="Recordings of noise to mix in: a,b,...")
@click.option("--noise-db", type=float, default=12.0, show_default=True, help="How far below the signal it lies.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; one a core by default.")
@click.option(
    "--mode",
    type=click.Choice(["both", "window", "leapfrog"]),
    default="both",
    show_default=True,
    help="A window at a time, carried states, or both and how they differ.",
)
@speaks_plainly
def evaluate(
    model: str,
    data: str,
    json_: bool,
    block: int | None,
    records: str | None,
    limit_seconds: float | None,
    lead: str,
    rate_hz: float | None,
    seconds: float,
    seed: int,
    spikes: float | None,
    noise: str | None,
    noise_db: float,
    jobs: int | None,
    mode: Any,
) -> None:
    """Judge MODEL (an .onnx file, or a shipped model's name) on DATA, through the monitor's own engine.

    DATA is a recording, a folder of WFDB records with .atr or of CSV files with a column 'label', or
    'simulated' for the signal that the model was trained on. Events are counted one by one, beside what needs
    no model.
    """
    import msgspec

    from training.evaluate import evaluate as judge
    from training.judged_inputs import Settings

    names = tuple(name.strip() for name in records.split(",") if name.strip()) if records else ()
    settings = Settings(
        block_samples=block or 0,
        records=names,
        limit_s=limit_seconds or 0.0,
        lead=lead,
        rate_hz=rate_hz,
        seconds=seconds,
        seed=seed,
        spikes_per_minute=spikes,
        noise=tuple(path.strip() for path in noise.split(",") if path.strip()) if noise else (),
        noise_db=noise_db,
        jobs=jobs or 0,
        mode=mode,
    )
    told = judge(model, data, settings, lambda text: click.echo(text, err=True))
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    from training.judged_tables import tables_of

    click.echo(tables_of(told))


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--noise", required=True, help="Recordings of noise to mix in: a,b,...")
@click.option("--records", default="", help="Of a folder these: a,b,...; by default what MODEL learned from.")
@click.option("--seconds", type=click.FloatRange(10), default=300.0, show_default=True, help="Of each recording.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The model with what was learned.")
@speaks_plainly
def noise(model: str, data: str, noise: str, records: str, seconds: float, out: Path) -> None:
    """Learn from when on there is too much noise for MODEL, a beat model, on the labelled recordings in DATA.

    The monitor then says "noise" while it lasts, and tells no beats.
    """
    from training.cards import write_with
    from training.noise import learn_noise

    paths, names = ([one.strip() for one in given.split(",") if one.strip()] for given in (noise, records))
    asked, learned = learn_noise(model, data, paths, names, seconds, lambda text: click.echo(text, err=True))
    write_with(asked, out, noise=learned)
    click.echo(str(out))
