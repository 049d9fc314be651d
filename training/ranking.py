"""The trials of a sweep as a table: best first, seeds of one setting together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.exercises.result import Cell, Table
from training.sweep import Trial, Value

_TELLING = ("mse", "mse_over_variance", "coverage", "beat_f1", "V_f1", "accuracy", "surprise")
_TELLING_ENDS = ("_sensitivity", "_false_alarms_per_hour")


_BEGIN = ("data.", "conditioning.")
"""Keys that begin so, and those below, change what a validation loss measures."""
_MEASURES = frozenset(
    (
        *(f"model.{name}" for name in ("classes", "coverage", "delay", "horizon", "label_steps", "pool")),
        *(f"model.{name}" for name in ("rate_hz", "samples_per_step", "scaling")),
        *(f"train.{name}" for name in ("class_weights", "first_step", "loss")),
    )
)


def warning_of(differing: Iterable[str]) -> str:
    """What to say where validation losses are set side by side over keys that change what they measure, or ""."""
    keys = sorted(key for key in differing if key.startswith(_BEGIN) or key in _MEASURES)
    if not keys:
        return ""
    return (
        f"warning: validation losses over {' and '.join(keys)} measure different things, and their order says "
        "nothing; look at the figures of the test part"
    )


def headline(metrics: dict[str, float]) -> dict[str, float]:
    """The few figures of a run that say how good its model is."""
    return {k: v for k, v in metrics.items() if k in _TELLING or k.endswith(_TELLING_ENDS)}


@dataclass(frozen=True)
class Setting:
    """The trials that differ in nothing but the seed."""

    values: dict[str, Value]
    """Without the seed."""
    trials: list[Trial]

    @property
    def losses(self) -> list[float]:
        """Validation loss of each trial that has one."""
        return [trial.validation_loss for trial in self.trials if trial.validation_loss is not None]

    @property
    def best(self) -> Trial:
        """The trial with the lowest loss."""
        return min(self.trials, key=lambda t: float("inf") if t.validation_loss is None else t.validation_loss)

    def figure(self, name: str) -> list[float]:
        """A figure on the test part, of each trial that has it."""
        return [trial.metrics[name] for trial in self.trials if name in trial.metrics]


def rank(trials: list[Trial]) -> list[Setting]:
    """Settings, lowest mean validation loss first, those that failed last; repeated trials count once."""
    settings: dict[tuple[tuple[str, Value], ...], Setting] = {}
    for trial in {tuple(trial.values.items()): trial for trial in trials}.values():
        values = {key: value for key, value in trial.values.items() if key != "seed"}
        settings.setdefault(tuple(values.items()), Setting(values, [])).trials.append(trial)
    return sorted(settings.values(), key=lambda s: np.mean(s.losses) if s.losses else np.inf)


def ranking_table(settings: list[Setting], title: str) -> Table:
    """One row a setting; over several seeds means, and lowest to highest of the loss and of the first figure."""
    seeds = any(len(setting.trials) > 1 for setting in settings)
    names = list(dict.fromkeys(name for s in settings for t in s.trials for name in headline(t.metrics)))
    ranged = names[:1] if seeds else []
    columns = [*settings[0].values, "validation loss", *(["lowest-highest"] if seeds else [])]
    for name in names:
        columns += [name, *(["lowest-highest"] if name in ranged else [])]
    columns += ["parameters", "seconds", "run"]
    rows: list[tuple[Cell, ...]] = []
    for setting in settings:
        row: list[Cell] = [_plain(value) for value in setting.values.values()]
        row += [_mean(setting.losses), *([_range(setting.losses)] if seeds else [])]
        for name in names:
            row += [_mean(setting.figure(name)), *([_range(setting.figure(name))] if name in ranged else [])]
        row += [setting.best.parameters or None, _mean([t.seconds for t in setting.trials if t.run])]
        rows.append((*row, setting.best.run or setting.best.failure))
    note = "Means over the seeds; the run is that of the best seed. " if seeds else ""
    note += "The loss is that of the validation part, the other figures are of the test part."
    return Table(title, tuple(columns), rows, note)


def ranking_json(settings: list[Setting]) -> list[dict[str, Any]]:
    """The same for a program, with every trial."""
    return [
        {
            "values": setting.values,
            "validation_loss": _mean(setting.losses),
            "validation_loss_range": [min(setting.losses), max(setting.losses)] if setting.losses else None,
            "metrics": {name: _mean(setting.figure(name)) for name in setting.best.metrics},
            "run": setting.best.run,
            "trials": [asdict(trial) for trial in setting.trials],
        }
        for setting in settings
    ]


def _plain(value: Value) -> Cell:
    return str(value).lower() if isinstance(value, bool) else value


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _range(values: list[float]) -> str | None:
    return f"{min(values):.4g}-{max(values):.4g}" if values else None
