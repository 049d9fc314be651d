"""Many fits, one for each way to set some keys, on Optuna: a grid of them, or chosen by what went well before.

This process alone talks to the study (Optuna's ask and tell); workers, one process each, only train. So nothing is
locked or decided twice, and the study in its SQLite file always says how far the sweep has come: the same command
goes on where it stopped, a trial that was under way with its own last checkpoint.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from monitor.core.errors import ConfigError, MonitorError
from training.config import FitConfig, value_of
from training.runs import Outcome

Value = str | int | float | bool
Sampler = Literal["grid", "tpe"]
TPE_TRIALS = 20


@dataclass(frozen=True)
class Plan:
    """What is to be tried."""

    base: FitConfig
    over: dict[str, tuple[Value, ...]]
    """The values of each key that is varied."""
    configure: Callable[[dict[str, Value]], FitConfig]
    """The configuration with these keys set; raises ConfigError where they do not go together."""
    sampler: Sampler = "grid"
    trials: int = 0
    """How many at most; 0 for the whole grid, and with tpe for `TPE_TRIALS`."""

    @property
    def grid(self) -> list[dict[str, Value]]:
        """All combinations, in the order of the command line."""
        return [dict(zip(self.over, values, strict=True)) for values in itertools.product(*self.over.values())]

    @property
    def wanted(self) -> int:
        """How many trials there shall be."""
        if self.sampler == "grid":
            return min(self.trials or len(self.grid), len(self.grid))
        return self.trials or TPE_TRIALS

    @property
    def study(self) -> str:
        """A name that the same command gives again, and no other."""
        what = msgspec.json.encode((self.base, self.over, self.sampler))
        return f"{self.base.name}-{hashlib.sha256(what).hexdigest()[:12]}"


@dataclass(frozen=True)
class Trial:
    """One fit of a sweep, as it ended."""

    number: int
    values: dict[str, Value]
    run: str
    validation_loss: float | None
    """None where it failed."""
    metrics: dict[str, float]
    parameters: int
    seconds: float
    failure: str = ""


def read_over(entries: tuple[str, ...]) -> dict[str, tuple[Value, ...]]:
    """`key=v1,v2` each, as keys and their values; a value is TOML, or else plain text."""
    over: dict[str, tuple[Value, ...]] = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        values = [value_of(part.strip()) for part in text.split(",")]
        if not equals or not key or any(value == "" for value in values):
            raise ConfigError(f"--over: expected key=value,value,..., got {entry!r}")
        if key in over or len(set(values)) < len(values):
            raise ConfigError(f"--over {entry}: expected each key and each value once")
        over[key] = tuple(values)
    if not over:
        raise ConfigError("--over: expected a key to vary: model.cell=rnn,lstm,gru")
    return over


def sweep(
    plan: Plan,
    data_folder: Path | None,
    out: Path,
    storage: Path,
    *,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> list[Trial]:
    """Run the trials of `plan` that `storage` does not hold yet; returns all that ended, in their order."""
    for values in plan.grid:
        plan.configure(values)  # what does not go together is told before hours are spent
    optuna = _optuna()
    failed = optuna.trial.TrialState.FAIL
    study = _open_study(optuna, plan, storage)
    _take_up(study, optuna.trial.TrialState.RUNNING, failed)
    if plan.sampler == "grid":
        for values in plan.grid[: plan.wanted]:
            study.enqueue_trial(values, skip_if_exists=True)

    def left() -> int:
        return plan.wanted - sum(1 for _ in _ended(study))

    if left() < plan.wanted:
        say(f"{plan.wanted - left()} of {plan.wanted} trials are in {storage}")
    running: dict[Future[tuple[str, str]], Any] = {}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _die_with_parent) as workers:
        while running or left() > 0:
            while len(running) < min(jobs, left()):
                trial = study.ask()
                values = {key: trial.suggest_categorical(key, plan.over[key]) for key in plan.over}
                folder = trial.user_attrs.get("again") or str(out / study.study_name / f"trial-{trial.number:03}")
                trial.set_user_attr("folder", folder)
                known = next((t for t in _ended(study) if t.values == values and not t.failure), None)
                if known is not None:  # the same again gives the same again
                    trial.set_user_attr("run", known.run)
                    study.tell(trial, known.validation_loss)
                    continue
                job = workers.submit(train_one, plan.configure(values), data_folder, Path(folder))
                running[job] = trial
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for job in done:
                trial = running.pop(job)
                run, failure = job.result()
                trial.set_user_attr("run", run)
                trial.set_user_attr("failure", failure)
                result = None if failure else _outcome(run).validation_loss
                study.tell(trial, result, state=failed if result is None else None)
                shown = " ".join(f"{key}={value}" for key, value in trial.params.items())
                say(f"{shown}: {failure or f'validation loss {result:.5g}'}  ({max(left(), 0)} left)")
    return list(_ended(study))


def _take_up(study: Any, running: Any, failed: Any) -> None:
    """Put a new trial in the place of each that was under way when the sweep was stopped; it gets its folder."""
    for trial in study.get_trials(deepcopy=False, states=(running,)):
        study.tell(trial.number, state=failed)
        if values := trial.params or trial.system_attrs.get("fixed_params"):
            study.enqueue_trial(values, user_attrs={"again": trial.user_attrs.get("folder", "")})


def train_one(config: FitConfig, data_folder: Path | None, folder: Path) -> tuple[str, str]:
    """In a worker: fit, or go on with what an earlier try left in `folder`; the run, or why not."""
    from training.fit import fit, resume
    from training.runs import is_resumable

    try:
        for run in sorted(folder.glob("*")):
            if (run / "outcome.json").is_file():
                return str(run), ""
            if is_resumable(run):
                return str(resume(run, data_folder, quiet=True)), ""
        return str(fit(config, data_folder, folder, quiet=True)), ""
    except MonitorError as error:
        return "", str(error)


def _die_with_parent() -> None:
    """In a worker: end when the sweep is killed, lest it trains on in a folder that the next sweep takes up."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("sweep: the package optuna is missing; pip install foretrace[train]") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _open_study(optuna: Any, plan: Plan, storage: Path) -> Any:
    import sqlalchemy.exc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Constant liar: what still runs counts as bad, so that workers do not all try the same.
        sampler = optuna.samplers.TPESampler(seed=plan.base.seed, constant_liar=True)
    try:
        storage.parent.mkdir(parents=True, exist_ok=True)
        return optuna.create_study(
            storage=f"sqlite:///{storage}", study_name=plan.study, load_if_exists=True, sampler=sampler
        )
    except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--storage {storage}: expected a file for SQLite: {reason}") from error


def _counts(trial: Any) -> bool:
    """Whether a trial that ended was one: those that were interrupted have another in their place."""
    return trial.value is not None or "failure" in trial.user_attrs


def _ended(study: Any) -> Iterator[Trial]:
    for trial in study.get_trials(deepcopy=False):
        run = trial.user_attrs.get("run", "")
        if trial.state.is_finished() and _counts(trial):
            failure = trial.user_attrs.get("failure", "")
            outcome = _outcome(run) if run else None
            yield Trial(
                number=trial.number,
                values=trial.params,
                run=run,
                validation_loss=trial.value,
                metrics=outcome.metrics if outcome else {},
                parameters=outcome.parameters if outcome else 0,
                seconds=outcome.seconds if outcome else 0.0,
                failure=failure,
            )


def _outcome(run: str) -> Outcome:
    try:
        return msgspec.json.decode((Path(run) / "outcome.json").read_bytes(), type=Outcome)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{run}: the sweep's storage names this run, but it cannot be read: {error}") from error
