"""False-alarm budgets on real ECGs: how they are kept on quiet records, and what tail to begin with.

Every lead of a record is a stream. What annotators marked (artefacts, noise, beats that are not normal) is none of
a false alarm's business: alarms are counted, and hours, away from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Alarm, State
from monitor.core.card import Card
from monitor.core.errors import ConfigError
from monitor.core.judging import ForecastJudge
from monitor.inference import Model
from monitor.recordings import Recording, read_recording
from training.answers import Played, answers, open_engine

Bools = NDArray[np.bool_]

QUIET_SHARE = 0.995
"""Of a record's beats that are normal, from which on it is called quiet."""
NORMAL = frozenset("NLRej")
AWAY_S = 5.0
"""So far from what annotators marked it is quiet."""
LEAST_S, LEAST_OF_A_RECORD_S = 60, 300
"""Of quiet, for a stretch to be learned from, and for all stretches of a record."""
TAILS = (0.08, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
LEARNED_AT = 1.0
"""Alarms an hour that are allowed while a tail is learned."""


def records_of(folder: Path) -> list[Recording]:
    """The WFDB records of `folder` that have annotations; raises ConfigError where there are none."""
    headers = sorted(header for header in folder.glob("*.hea") if header.with_suffix(".atr").is_file())
    if not headers:
        raise ConfigError(f"{folder}: expected WFDB records with .atr, got none")
    return [read_recording(header.with_suffix("")) for header in headers]


def is_quiet_record(record: Recording) -> bool:
    """Whether its beats are all but normal."""
    beats = record.label_symbols
    return sum(symbol in NORMAL for symbol in beats) >= max(QUIET_SHARE * len(beats), 1)


def quiet_records(folder: Path) -> list[Recording]:
    """Those of `records_of` that are quiet; raises ConfigError where there are none."""
    found = [record for record in records_of(folder) if is_quiet_record(record)]
    if not found:
        raise ConfigError(f"{folder}: expected records with normal beats among them, got none")
    return found


def quiet_seconds(record: Recording) -> Bools:
    """(second,) whether each one lies away from all that annotators marked; a change of rhythm is no mark."""
    beats = zip(record.label_samples.tolist(), record.label_symbols, strict=True)
    marks = [at for at, symbol in beats if symbol not in NORMAL]
    marks += [at for at, text in record.remarks if not text.startswith("(")]
    middle_s = np.arange(int(len(record.values) / record.rate_hz)) + 0.5
    far = np.abs(middle_s[:, None] - np.array(marks) / record.rate_hz).min(axis=1, initial=np.inf)
    quiet: Bools = far > AWAY_S
    return quiet


def kept_on_ecgs(records: Sequence[Recording], model: Model, budgets: Sequence[float]) -> dict[str, Any]:
    """Alarms raised for each that was allowed, see training.budgets; beside them those at marks."""
    quiet = {record.name: quiet_seconds(record) for record in records}
    seconds = sum(quiet[record.name].sum() * len(record.channels) for record in records)
    counts = np.zeros((len(budgets), 2), np.int64)
    for which, record, t_s in _raised(records, model, [(model.card, one) for one in budgets], {}):
        mine = quiet[record.name]
        counts[which, int(mine[min(int(t_s), len(mine) - 1)])] += 1
    hours, rows = float(seconds) / 3600, []
    for one, (marked, raised) in zip(budgets, counts.tolist(), strict=True):
        allowed = one * hours
        rows.append(
            {"per_hour": one, "allowed": round(allowed, 2), "raised": raised, "ratio": raised / allowed,
             "at_marks": marked}
        )  # fmt: skip
    names = ", ".join(record.name for record in records)
    share = 1 - hours * 3600 / sum(len(quiet[record.name]) * len(record.channels) for record in records)
    what = f"records {names}, each lead alone, {model.card.name}, without {share:.0%} near what was marked, where "
    what += ", ".join(str(marked) for marked, _ in counts.tolist()) + " came"
    return {"signal": "quiet ECG", "what": what, "hours": round(hours, 2), "budgets": rows}


def learn_tail(model: Model, records: Sequence[Recording]) -> tuple[float, list[dict[str, Any]]]:
    """The lightest of TAILS with which quiet stretches raise no more alarms than are allowed; and what each gave.

    Raises ConfigError for a model that is no forecaster, and records without quiet stretches.
    """
    if model.card.task != "forecast":
        raise ConfigError(f"model {model.card.ident}: expected a forecaster, got one of task {model.card.task}")
    pieces = {record.name: _stretches(quiet_seconds(record)) for record in records}
    some = [record for record in records if pieces[record.name].sum() >= LEAST_OF_A_RECORD_S]
    if not some:
        raise ConfigError(f"expected {LEAST_OF_A_RECORD_S} s or more of quiet in a record, got none")
    seconds = sum(pieces[record.name].sum() * len(record.channels) for record in some)
    allowed = float(LEARNED_AT * seconds) / 3600
    asked = [(msgspec.structs.replace(model.card, tail=tail), LEARNED_AT) for tail in TAILS]
    counts = np.zeros(len(TAILS), np.int64)
    for which, _, _ in _raised(some, model, asked, pieces):
        counts[which] += 1
    table = [
        {"tail": tail, "raised": int(count), "allowed": allowed} for tail, count in zip(TAILS, counts, strict=True)
    ]
    kept = [row["tail"] for row in table if row["raised"] <= allowed]
    return kept[0] if kept else TAILS[-1], table


def _stretches(quiet: Bools) -> Bools:
    """(second,) of the quiet ones those that lie in stretches of LEAST_S or more."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.view(np.int8), [0]))))
    long = np.zeros(len(quiet), np.bool_)
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        long[start:end] = end - start >= LEAST_S
    return long


def _raised(
    records: Sequence[Recording],
    model: Model,
    asked: Sequence[tuple[Card, float]],
    pieces: Mapping[str, Bools],
) -> Iterator[tuple[int, Recording, float]]:
    """Which of `asked`, each a card and alarms an hour, raised an alarm, on which record, and when in s.

    Of a record in `pieces` only the seconds that are True there are sent: what is left out is a gap.
    """
    names = {f"{record.name}/{lead}": (record, lead) for record in records for lead in range(len(record.channels))}
    streams = {
        name: Played(
            record.values[:, lead : lead + 1], record.rate_hz, record.unit.split(", ")[0], pieces.get(record.name)
        )
        for name, (record, lead) in names.items()
    }
    engine = open_engine(model, len(streams))
    judges = [ForecastJudge(card, (), len(streams), engine.name_of) for card, _ in asked]
    for judge, (_, per_hour) in zip(judges, asked, strict=True):
        for slot in range(len(streams)):
            judge.budgets.allow(slot, per_hour)
    for part, outputs in answers(engine, model, streams):
        for which, judge in enumerate(judges):
            for _, notice in judge.step(part, outputs).notices:
                if isinstance(notice, Alarm) and notice.state is State.ACTIVE and notice.times == 1:
                    yield which, names[notice.stream][0], notice.changed_ns / NS
