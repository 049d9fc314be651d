"""How a beat model of two tiers does on patients that neither tier has learned from.

While one is trained fold by fold (training/tiers.py), each record is judged where it is left out: on the lead that
the model is made for, on its other lead alone, and on both at once (training/leads.py), as it is and with noise.
What was right and what was wrong is kept by record, in the run folder; figures are made of it when they are asked
for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.errors import ConfigError
from training.candidates import find_candidates
from training.config import FitConfig, RecordsData
from training.datasets import condition
from training.exercises.result import Cell, Table
from training.leads import hear_both
from training.metrics import Tally
from training.models import RecurrentModel
from training.records import read_leads
from training.second import UNASKED, Candidates

Doubles = NDArray[np.float64]
Answer = tuple[Candidates, Doubles]
"""Candidates and what was said of them (n, class + 1), as logarithms."""
Tallies = dict[str, Tally]
"""Of beats at all ("beat"), and of each class but the first."""

FILE = "patients.json"
"""Its name in a run folder."""
NOISE = "_noise"
"""How the name of a view ends that is one with noise."""
VIEWS = {
    "lead": "one lead",
    "lead_noise": "one lead, noise",
    "lead_apart": "one lead, operating point set without them",
    "both": "both leads",
    "both_noise": "both leads, noise in each",
    "other": "the other lead alone",
    "other_noise": "the other lead alone, noise",
}
"""What a record was judged on. The operating point is set on all records with one lead, patients and noise pooled;
"apart" is for each fold set on the others."""
BIASES = np.arange(-2.0, 2.01, 0.1)


class Patients(msgspec.Struct, frozen=True):
    """What was right and wrong, record by record and view by view."""

    records: dict[str, dict[str, Tallies]]

    def named(self, view: str, without: Sequence[str] = ()) -> list[str]:
        """The records judged on `view`, but for those to do `without`."""
        return [name for name, views in self.records.items() if view in views and name not in without]

    def total(self, view: str, without: Sequence[str] = ()) -> Tallies:
        """All these records together."""
        told: Tallies = {}
        for name in self.named(view, without):
            for what, tally in self.records[name][view].items():
                told[what] = told.get(what, Tally()) + tally
        return told

    def figures(self, view: str) -> dict[str, float]:
        """Those of a model's card: the view as it is, and with noise."""
        return {
            f"{key}{suffix}": value
            for suffix in ("", NOISE)
            for name, tally in self.total(view + suffix).items()
            for key, value in tally.figures(name).items()
        }


def hear_others(
    first: RecurrentModel, config: FitConfig, folder: Path | None, held: Sequence[str]
) -> dict[str, dict[str, Candidates]]:
    """What `first` finds on the other lead of the records `held`, and on both: by record and view.

    Nothing of records that have one lead only. Noise is drawn by a generator that nothing else uses.
    """
    source = config.data
    if not isinstance(source, RecordsData):
        raise ConfigError("data.source: expected 'records'")
    order = [name for fold in source.folds for name in fold]
    told: dict[str, dict[str, Candidates]] = {name: {} for name in held}
    seen, pairs = [], []
    for name in held:
        random = np.random.default_rng([config.seed, order.index(name)])
        for suffix, raw in zip(("", NOISE), read_leads(source, folder, name, random), strict=False):
            seen.append((name, suffix))
            pairs.append(condition(raw, config, config.model.rate_hz, noisy=bool(suffix)))
    others = [replace(pair, values=pair.values[:, 1:]) for pair in pairs]
    for view, model, series in (("other", first, others), ("both", hear_both(first), pairs)):
        for (name, suffix), found in zip(seen, find_candidates(model, config, series), strict=True):
            told[name][view + suffix] = found
    return told


def judge(said: Mapping[str, Mapping[str, Answer]], config: FitConfig) -> tuple[Patients, Doubles]:
    """What was right of what was `said` by record and view, and the biases (class + 1,) by which it was told."""
    source, classes = config.data, config.model.classes
    if not isinstance(source, RecordsData):
        raise ConfigError("data.source: expected 'records'")

    def biases_without(held: Sequence[str]) -> Doubles:
        learned = [said[name] for name in said if name not in held]
        return choose_biases(
            [views[view] for views in learned for view in ("lead", "lead_noise") if view in views], classes
        )

    biases = biases_without(())
    records = {
        name: {view: tallies([answer], biases, classes) for view, answer in views.items()}
        for name, views in said.items()
    }
    for held in source.folds:
        apart = biases_without(held)
        for name in held:
            records[name]["lead_apart"] = tallies([said[name]["lead"]], apart, classes)
    return Patients(records), biases


def choose_biases(answers: Sequence[Answer], classes: Sequence[str]) -> Doubles:
    """What to add to each logit, so that V, S and beats at all are told best together, patients and noise pooled.

    Together, because a beat that is not called V may become a false S. Beats count ten times: of these nearly all
    are right, and a tenth of a percent matters.
    """
    weights = {"V": 1.0, "S": 1.0, "beat": 10.0}

    def merit(biases: Doubles) -> float:
        told = tallies(answers, biases, classes)
        return sum(weights[name] * tally.figures("x")["x_f1"] for name, tally in told.items() if name in weights)

    biases = np.zeros(len(classes) + 1)
    columns = [classes.index(name) for name in ("V", "S") if name in classes] + [len(classes)]
    for _ in range(3):
        for column in columns:
            tried = np.tile(biases, (len(BIASES), 1))
            tried[:, column] = BIASES
            biases = tried[int(np.argmax([merit(one) for one in tried]))]
    return biases


def tallies(answers: Sequence[Answer], biases: Doubles, classes: Sequence[str]) -> Tallies:
    """Beats at all, and of each class but the first, over all candidates that can be judged."""
    told = {name: Tally() for name in ("beat", *classes[1:])}
    nothing = len(classes)
    for one, logits in answers:
        judged = one.kinds != UNASKED
        called, kinds = called_classes(logits + biases)[judged], one.kinds[judged]
        hit = int(((kinds < nothing) & (called < nothing)).sum())
        annotated = int((kinds < nothing).sum()) + int(one.missed.sum())
        told["beat"] += Tally(hit, annotated - hit, int(((kinds == nothing) & (called < nothing)).sum()))
        for kind, name in enumerate(classes[1:], start=1):
            mine = called == kind
            right = int((mine & (kinds == kind)).sum())
            excused = kinds == classes.index("F") if name == "V" and "F" in classes else np.zeros(len(kinds), bool)
            missed = int((kinds == kind).sum()) + int(one.missed[kind]) - right
            told[name] += Tally(right, missed, int((mine & (kinds != kind) & ~excused).sum()))
    return told


def called_classes(logits: Doubles) -> NDArray[np.int64]:
    """As the monitor's judge does: a beat where that is at least as likely as none, then its likeliest class."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    kinds = odds[:, :-1].argmax(axis=1)
    called: NDArray[np.int64] = np.where(odds[:, -1] <= 0.5, kinds, odds.shape[1] - 1)
    return called


def read_patients(run: Path) -> Patients:
    """What a run has kept; raises ConfigError where it has kept nothing."""
    try:
        return msgspec.json.decode((run / FILE).read_bytes(), type=Patients)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{run}: expected the run of a beat model of two tiers, with what it made of patients left out in "
            f"{FILE}: {error}; fit it again"
        ) from error


def check_without(patients: Patients, without: Sequence[str]) -> None:
    """Raises ConfigError for a record that there is not, and where none is left."""
    if unknown := [name for name in without if name not in patients.records]:
        raise ConfigError(f"--without: expected some of {', '.join(patients.records)}; got {unknown[0]!r}")
    if not patients.named("lead", without):
        raise ConfigError("--without: expected to leave at least one record, got all of them")


def patients_table(patients: Patients, title: str, without: Sequence[str] = ()) -> Table:
    """A row a view: sensitivity, positive predictivity and F1 of beats and of each class, in percent."""
    rows: list[tuple[Cell, ...]] = []
    columns = ["judged on", "records"]
    for view, what in VIEWS.items():
        if not (told := patients.total(view, without)):
            continue
        row: list[Cell] = [what, len(patients.named(view, without))]
        for name, tally in told.items():
            digits = 2 if name == "beat" else 1
            row += [f"{share:.{digits}f}" if not math.isnan(share) else None for share in tally.percent.values()]
        columns = [*columns[:2], *(f"{name} {key}" for name in told for key in ("Se", "+P", "F1"))]
        rows.append(tuple(row))
    note = "Percent, beat by beat within 150 ms; each record judged by tiers that had not learned from its fold."
    return Table(title, tuple(columns), rows, note)


def patients_json(patients: Patients, without: Sequence[str] = ()) -> dict[str, Any]:
    """The same for a program, with what is behind it."""
    views = {
        view: {
            "records": len(patients.named(view, without)),
            **{name: msgspec.to_builtins(tally) | tally.percent for name, tally in told.items()},
        }
        for view in VIEWS
        if (told := patients.total(view, without))
    }
    return {"without": list(without), "views": views, "records": msgspec.to_builtins(patients.records)}
