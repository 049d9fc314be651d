"""The command line of `training`: the verbs that make models; the others stand in training/cli_*.py.

Verbs import what they need when they are called: `--help` must not wait for torch. Progress goes to stderr, the
one line that a script wants (where the result lies) to stdout.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor import __version__
from monitor.commandline import Group
from training.cli_alarms import budget, tail
from training.cli_models import evaluate, noise
from training.cli_runs import compare, patients, report, sweep
from training.cli_series import anomalies
from training.plainly import speaks_plainly

if TYPE_CHECKING:
    from training.config import FitConfig

CELLS = ("rnn", "lstm", "gru")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="training")
def cli() -> None:
    """Train small recurrent forecasters and classifiers, and export each as one ONNX file."""


@cli.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Folder that holds the records.")
@click.option("--recording", help="In place of CONFIG: the same as naming a recording there.")
@click.option("--rate-hz", type=float, help="Rate of a --recording without a time column.")
@click.option(
    "--signal", type=click.Choice(["noisy-sine", "long-dependency"]), help="Without CONFIG: simulate it."
)
@click.option("--symbols", help="Without CONFIG: foresee the next symbol of this text, CSV column or WFDB record.")
@click.option(
    "--labels", type=click.Path(path_type=Path), help="Learn from verdicts, too: alarms export --labels."
)
@click.option(
    "--recordings", type=click.Path(path_type=Path), help="What --labels speak of: monitor record --out."
)
@click.option("--cell", type=click.Choice(CELLS), help="Recurrent cell.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where runs go."
)
@click.option("--seed", type=int, help="Seed of data, weights and order.")
@click.option("--epochs", type=int, help="Passes over the training windows.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any key of the configuration: model.hidden=64."
)
@click.option(
    "--resume", "interrupted", type=click.Path(path_type=Path), help="Go on with this interrupted run instead."
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard's event files into the run folder.")
@click.option("--report/--no-report", "report_", default=True, help="Write RUN/report.html.  [default: report]")
@speaks_plainly
def fit(
    config: Path | None,
    folder: Path | None,
    recording: str | None,
    rate_hz: float | None,
    signal: str | None,
    symbols: str | None,
    labels: Path | None,
    recordings: Path | None,
    cell: str | None,
    out: Path,
    seed: int | None,
    epochs: int | None,
    device: str,
    sets: tuple[str, ...],
    interrupted: Path | None,
    tensorboard: bool,
    report_: bool,
) -> None:
    """Train what CONFIG says, or one of --signal or --symbols.

    CONFIG is a TOML file, or a recording (.csv, .txt, .edf, a WFDB record) of which a forecaster is made.
    How a recording is forecast follows from the recording itself: its rate from its column of times, or --rate-hz;
    steps, window and horizon from its strongest periods and its length. --set changes any of it.

    The run folder's path is printed at the end; `training export` makes a model file of it.
    """
    if config is not None and config.suffix.lower() != ".toml" and recording is None:
        config, recording = None, str(config)
    if sum(given is not None for given in (config, recording, signal, symbols, interrupted)) != 1:
        raise click.UsageError("expected one of CONFIG, --signal, --recording, --symbols and --resume")
    if recordings is not None and labels is None:
        raise click.UsageError("--recordings are what --labels speak of: expected both")
    flags: dict[str, object] = {"data.rate_hz": rate_hz, "model.cell": cell, "seed": seed, "train.epochs": epochs}
    flags |= {"labels.path": labels, "labels.recordings": recordings}
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    if interrupted and (given or sets):
        raise click.UsageError(f"--resume goes on with what its run was given, got {[*given, *sets][0]} as well")
    if interrupted:
        from training.fit import resume

        run = resume(interrupted, folder, device, tensorboard=tensorboard)
    else:
        from training.config import base_of, load_config

        if recording is not None:
            from training.series import base_of_series

            base = base_of_series(recording, rate_hz)
        else:
            base = base_of(signal, symbols) if config is None else {}
        wanted = load_config(config, [*given, *sets], base)
        for entry in (*given, *sets):
            click.echo(f"override {entry}", err=True)
        run = _train(wanted, folder, out, device, tensorboard=tensorboard)

    import msgspec

    from training.runs import Outcome

    outcome = msgspec.json.decode((run / "outcome.json").read_bytes(), type=Outcome)
    for key, value in (outcome.thresholds | outcome.metrics).items():
        click.echo(f"{key:32} {value:.5g}", err=True)
    click.echo(f"best epoch {outcome.best_epoch} of {outcome.epochs}, {outcome.seconds:.0f} s", err=True)
    if report_ and not (run / "second.safetensors").exists():  # of two tiers `training patients` tells
        from training.report import report as write_report

        click.echo(f"report {write_report(run, folder)}", err=True)
    click.echo(str(run))


def _train(wanted: FitConfig, folder: Path | None, out: Path, device: str, *, tensorboard: bool) -> Path:
    if wanted.second is None:
        from training.fit import fit as train

        return train(wanted, folder, out, device, tensorboard=tensorboard)
    from training.tiers import fit_tiers

    if device != "cpu" or tensorboard:
        raise click.UsageError("a model of two tiers is trained on --device cpu, without --tensorboard")
    return fit_tiers(wanted, folder, out)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; RUN/NAME.onnx by default.")
@click.option(
    "--data", "folder", type=click.Path(path_type=Path), help="Of a model file: what its records are in."
)
@click.option("--both-leads", "hears_both", is_flag=True, help="Of a RUN of beats on one lead: to listen to two.")
@speaks_plainly
def export(run: Path, out: Path | None, folder: Path | None, hears_both: bool) -> None:
    """Write the model of a finished RUN as one ONNX file, and prove that it computes what torch did.

    RUN may be a model file itself, of an older version: it is then made anew, from its own weights.
    """
    from training.export import export as write
    from training.reexport import reexport

    def say(text: str) -> None:
        click.echo(text, err=True)

    if run.suffix == ".onnx" and hears_both:
        raise click.UsageError("--both-leads: expected a run folder, got a model file")
    if run.suffix == ".onnx":
        path = reexport(run, out, folder, say)
    else:
        path = write(run, out, say, hears_both=hears_both)
    click.echo(str(path))


@cli.command()
@click.argument("name", required=False)
@click.option("--list", "list_", is_flag=True, help="Say which exercises there are.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--seeds", type=click.IntRange(1, 100), default=1, show_default=True, help="Over so many seeds.")
@click.option("--quick", is_flag=True, help="Little data, little training: to see that everything works.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Your own recording, text or data set; with all, the reviews of imdb.",
)
@click.option("--test", type=click.Path(path_type=Path), help="A test set of its own (imdb).")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@speaks_plainly
def exercise(
    name: str | None,
    list_: bool,
    seed: int,
    seeds: int,
    quick: bool,
    data: Path | None,
    test: Path | None,
    out: Path,
    json_: bool,
) -> None:
    """Run the exercise NAME, or all of them: what its document found, what we find, and why."""
    from training.exercises import EXERCISES

    if list_:
        for known, line in EXERCISES.items():
            click.echo(f"{known:16} {line}")
        return
    if name not in (*EXERCISES, "all"):
        raise click.UsageError(f"expected one of {', '.join(EXERCISES)}, or all; got {name or 'nothing'}")

    import importlib
    import json

    from training.exercises.result import Options, as_json, keep, text_of
    from training.runs import new_run_folder

    told = []
    say = functools.partial(click.echo, err=True)
    for known in EXERCISES if name == "all" else (name,):
        if name == "all" and known == "imdb" and not quick and data is None:
            say("imdb: left out, for it needs reviews to learn from: --data, or --quick for invented ones")
            continue
        own = (data, test) if known == "imdb" or name != "all" else (None, None)
        folder = new_run_folder(out, known)
        options = Options(seed, seeds, quick, folder, *own, say)
        result = importlib.import_module(f"training.exercises.{known.replace('-', '_')}").run(options)
        keep(known, result, folder)
        told.append(as_json(known, result))
        if not json_:
            click.echo("\n\n".join([*map(text_of, result.tables), *result.notes]) + f"\n\n{folder}\n")
    if json_:
        click.echo(json.dumps(told if name == "all" else told[0], indent=2))


@cli.command()
@click.argument("database", type=click.Choice(["mitdb", "nstdb"]))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The DIR that `fit --data DIR` wants.")
@speaks_plainly
def fetch(database: str, out: Path) -> None:
    """Download DATABASE from PhysioNet: the records that the ECG models learn from."""
    from training.fetch import fetch as download

    click.echo(str(download(database, out, lambda text: click.echo(text, err=True))))


for verb in (sweep, compare, report, patients, evaluate, noise, anomalies, budget, tail):
    cli.add_command(verb)
