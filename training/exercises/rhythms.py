"""Rhythms as sequences of beat symbols: simulated, or as annotated in recordings; and the episodes in them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.core.errors import RecordingError
from monitor.recordings import AAMI, read_recording

PAUSE = "|"
"""Stands before the first beat of each recording: what comes after does not follow from what was before."""
EPISODES = {"bigeminy": "(?:NV){3,}", "trigeminy": "(?:NNV){3,}", "run of V": "V{3,}", "run of S": "S{3,}"}
"""Rhythms as they are found with hindsight, in a whole sequence of beats."""


def simulate_beats(beats: int, random: np.random.Generator) -> str:
    """Mostly normal beats with single early ones, and now and then a bigeminy, a trigeminy or a run."""
    parts: list[str] = []
    while sum(map(len, parts)) < beats:
        quiet = random.choice(["N", "V", "S", "F"], size=random.integers(15, 60), p=[0.96, 0.025, 0.01, 0.005])
        rhythm = ("NV", "NNV", "V", "S")[random.choice(4, p=[0.4, 0.25, 0.25, 0.1])]
        parts += ["".join(quiet), rhythm * int(random.integers(4, 13))]
    return "".join(parts)[:beats]


def simulate(seed: int, *, quick: bool) -> tuple[str, str, str]:
    """Beats to learn from, others to judge on, and what they are."""
    random = np.random.default_rng(seed)
    beats = 2_000 if quick else 20_000
    train, test = simulate_beats(beats, random), simulate_beats(beats // 4, random)
    return train, test, f"simulated: {len(train)} to learn from, {len(test)} others to judge on"


def split(sequences: dict[str, str]) -> tuple[str, str, str]:
    """Of several recordings the last quarter, of one its last third, is judged on."""
    beats = {name: sequence for name, sequence in sequences.items() if len(sequence) >= 10}
    joined = "".join(beats.values())
    if len(joined) < 100 or len(set(joined)) < 2:
        found = f"{len(joined)} beats of {len(set(joined))} kind(s)"
        raise RecordingError(f"--data: expected 100 annotated beats or more, of two kinds or more, got {found}")
    names = list(beats)
    if len(names) == 1:
        cut = 2 * len(joined) // 3
        return (
            joined[:cut],
            joined[cut:],
            f"of {names[0]}: {cut} to learn from, the {len(joined) - cut} after them",
        )
    held_out = names[-max(1, len(names) // 4) :]
    train = PAUSE.join(beats[name] for name in names if name not in held_out)
    test = PAUSE.join(beats[name] for name in held_out)
    source = (
        f"of {len(names) - len(held_out)} recordings ({len(train)}); judged on {', '.join(held_out)} ({len(test)})"
    )
    return train, test, source


def read_beats(paths: list[Path]) -> dict[str, str]:
    """The annotated beats of each recording as a string of AAMI classes."""
    if not paths:
        raise RecordingError("--data: expected WFDB records in this folder, got no .hea file; check the path")
    sequences = {}
    for path in paths:
        recording = read_recording(path)
        sequences[recording.name] = "".join(AAMI.get(symbol, symbol[:1]) for symbol in recording.label_symbols)
    return sequences


def inside_episodes(beats: str) -> NDArray[np.bool_]:
    """Which beats belong to an episode."""
    inside = np.zeros(len(beats), bool)
    for pattern in EPISODES.values():
        for match in re.finditer(pattern, beats):
            inside[match.start() : match.end()] = True
    return inside
