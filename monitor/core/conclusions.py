"""What a model's answers mean: from batches and outputs to scores, notices, and why alarms were raised."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.batches import Batch, rounds
from monitor.core.blocks import Floats, Ints, Kind, Score
from monitor.core.evidence import Evidence, Foresights
from monitor.core.judge import Judge, Notice, Part
from monitor.core.scoring import Doubles
from monitor.core.stream import Stream


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a batch told, row by row."""

    batch: Batch
    outputs: Mapping[str, Floats]
    kinds: tuple[tuple[Kind, str, float], ...]
    """Kind, label and threshold of each column of `scores`."""
    scores: Doubles
    """(n, track); NaN where there is nothing to say."""
    levels: Doubles
    """(n, track) what each score is held against; infinite while a budget warms up."""
    notices: list[tuple[int, Notice]]
    """Row of the batch, and what was flagged."""
    evidence: list[Evidence]
    """Why each alarm was raised that is new among them."""

    def scores_of(self, row: int, stream: str) -> list[Score]:
        """The scores in one row, which is of `stream`, where there are any."""
        weighed = zip(self.kinds, self.scores[row].tolist(), self.levels[row].tolist(), strict=True)
        t_ns = int(self.batch.t_ns[row])
        return [
            Score(stream, kind, label, t_ns, value, level)
            for (kind, label, _), value, level in weighed
            if not math.isnan(value) and level < math.inf
        ]


def conclude_all(
    told: Sequence[Part], judge: Judge, foresights: Foresights, streams: Sequence[Stream]
) -> Iterator[Conclusion]:
    """What is told by batches of one model, and what it answered, that follow on each other: one by one."""
    turns = [rounds(batch.slots) for batch, _ in told]
    parts = [part for (batch, out), its in zip(told, turns, strict=True) for part in _parts(batch, out, its)]
    judged = zip(parts, judge.steps(parts), strict=True)
    kinds = tuple((track.kind, track.label, track.raise_level) for track in judge.tracks)
    for (batch, outputs), its in zip(told, turns, strict=True):
        scores = np.full((len(batch), len(judge.tracks)), np.nan)
        levels = np.empty(scores.shape)
        notices: list[tuple[int, Notice]] = []
        evidence: list[Evidence] = []
        for rows in its:
            (part, some), (scores[rows], levels[rows], found) = next(judged)
            evidence += foresights.note(part, some)
            notices += [(int(rows[row]), notice) for row, notice in found]
            evidence += foresights.evidence(part, found, streams, judge.late) if found else []
        yield Conclusion(batch, outputs, kinds, scores, levels, notices, evidence)


def _parts(batch: Batch, outputs: dict[str, Floats], turns: Sequence[Ints]) -> list[Part]:
    """A batch in parts of distinct streams."""
    if len(turns) == 1:
        return [(batch, outputs)]
    return [(batch.rows(rows), {name: values[rows] for name, values in outputs.items()}) for rows in turns]
