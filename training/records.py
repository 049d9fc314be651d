"""WFDB records as training data: split by patient, and copies of the training part that differ a little.

A copy is the same heart seen from another side, beating at another speed, or through noise: what the network sees
in its place should not depend on either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from monitor.core.blocks import Floats, Ints
from monitor.core.errors import ConfigError
from monitor.recordings import Recording, read_recording
from training.sources import RecordsData
from training.symbols import PARTS


@dataclass(frozen=True)
class Raw:
    """A stretch of one stream before conditioning."""

    name: str
    rate_hz: float
    unit: str
    values: Floats
    """(time, channel), NaN where missing."""
    at: Ints
    """Samples that carry a label, ascending."""
    symbols: tuple[str, ...]
    flutter: tuple[tuple[int, int], ...] = ()
    """See monitor.recordings.Recording."""


def read_records(
    source: RecordsData, folder: Path | None, random: np.random.Generator
) -> tuple[dict[str, list[Raw]], list[Raw], list[Raw]]:
    """The parts, then copies of the training part for more variety, and such with noise."""
    if folder is None:
        raise ConfigError(f"data: expected --data DIR, the folder that holds {source.folder}/, got none")
    # Calibration may share records with validation, neither of which trains; all else is other patients.
    for one, other in (("train", "validation"), ("train", "calibration"), ("train", "test"),
                       ("validation", "test"), ("calibration", "test")):  # fmt: skip
        if both := set(getattr(source, one)) & set(getattr(source, other)):
            raise ConfigError(f"data: records {sorted(both)} stand in both {one} and {other}; a patient is in one")
    used = dict.fromkeys(name for part in PARTS for name in getattr(source, part))
    read = {name: read_recording(folder / source.folder / name) for name in used}
    raws = {part: [_lead_of(read[name], source.lead) for name in getattr(source, part)] for part in PARTS}
    if not all(raws.values()):
        raise ConfigError("data: expected records in each of train, validation, calibration and test")
    noise = [read_recording(folder / name) for name in source.noise]
    copies = [
        _mixed_copy(read[name], source.stretch, random) for name in source.train for _ in range(source.copies)
    ]
    if source.spikes_per_minute:
        raws = {part: [with_spikes(raw, source, random) for raw in some] for part, some in raws.items()}
        copies = [with_spikes(raw, source, random) for raw in copies]
    noisy = [noisy_copy(raw, noise, source.noise_db, random) for raw in (*raws["train"], *copies) if noise]
    return raws, copies, noisy


def read_folds(
    source: RecordsData, folder: Path | None, random: np.random.Generator
) -> dict[str, list[tuple[Raw, bool]]]:
    """By record: itself, its copies, and each of these with noise; whether it has noise stands beside it."""
    if folder is None:
        raise ConfigError(f"data: expected --data DIR, the folder that holds {source.folder}/, got none")
    names = [name for fold in source.folds for name in fold]
    if len(source.folds) < 2 or not all(source.folds) or len(set(names)) < len(names):
        raise ConfigError("data.folds: expected two folds or more, none empty, and each record in one of them")
    noise = [read_recording(folder / name) for name in source.noise]
    told = {}
    for name in names:
        recording = read_recording(folder / source.folder / name)
        raws = [_lead_of(recording, source.lead)]
        raws += [_mixed_copy(recording, source.stretch, random, alone=i == 1) for i in range(source.copies)]
        noisy = [noisy_copy(raw, noise, source.noise_db, random) for raw in raws if noise]
        told[name] = [(raw, False) for raw in raws] + [(raw, True) for raw in noisy]
    return told


def read_leads(source: RecordsData, folder: Path | None, name: str, random: np.random.Generator) -> list[Raw]:
    """A record's lead and another one as two channels; then the same with noise, another one in each.

    The first channel is the one that `read_folds` gives. Nothing where a record has one lead only.
    """
    if folder is None:
        raise ConfigError(f"data: expected --data DIR, the folder that holds {source.folder}/, got none")
    recording = read_recording(folder / source.folder / name)
    mine = _channel_of(recording, source.lead)
    others = [i for i in range(len(recording.channels)) if i != mine]
    if not others:
        return []
    leads = [_raw_of(recording, recording.values[:, [i]]) for i in (mine, others[0])]
    noise = [read_recording(folder / path) for path in source.noise]
    noisy = [noisy_copy(lead, noise, source.noise_db, random) for lead in leads if noise]
    return [
        replace(pair[0], values=np.concatenate([lead.values for lead in pair], axis=1))
        for pair in (leads, noisy)
        if pair
    ]


def _lead_of(recording: Recording, lead: str) -> Raw:
    channel = _channel_of(recording, lead)
    return _raw_of(recording, recording.values[:, channel : channel + 1])


def _channel_of(recording: Recording, lead: str) -> int:
    return recording.channels.index(lead) if lead in recording.channels else 0


def _raw_of(recording: Recording, values: Floats) -> Raw:
    unit = recording.unit.split(", ")[0]
    at, symbols = recording.label_samples, recording.label_symbols
    return Raw(recording.name, recording.rate_hz, unit, values, at, symbols, recording.flutter)


def _mixed_copy(recording: Recording, stretch: float, random: np.random.Generator, *, alone: bool = False) -> Raw:
    """The record seen from another side: two leads mixed at a random angle, and played at another speed.

    `alone` takes the second lead as it is, or upside down.
    """
    angle = random.choice((-1, 1)) * np.pi / 2 if alone else random.uniform(0, 2 * np.pi)
    values = (
        recording.values[:, :2] @ np.array([np.cos(angle), np.sin(angle)], np.float32)[: recording.values.shape[1]]
    )
    raw = _raw_of(recording, values[:, None])
    return replace(raw, name=f"{raw.name} mixed", rate_hz=raw.rate_hz * random.uniform(1 - stretch, 1 + stretch))


def with_spikes(raw: Raw, source: RecordsData, random: np.random.Generator) -> Raw:
    """`raw` with spikes at random places, and labels of these alone."""
    values = raw.values.copy()
    count = round(len(values) / raw.rate_hz / 60 * source.spikes_per_minute)
    # Four samples apart or more, so that each is one of its own.
    at = np.sort(random.choice((len(values) - 3) // 10, count, replace=False)) * 10 + random.integers(0, 7, count)
    spread = np.nanstd(raw.values, axis=0)
    for place in at.tolist():
        size = random.uniform(*source.spike_sizes) * random.choice((-1, 1))
        values[place : place + random.integers(1, 4)] += (size * spread).astype(np.float32)
    labelled = replace(raw, values=values, at=at, symbols=("spike",) * count, flutter=())
    return replace(labelled, name=f"{raw.name} with spikes")


def noisy_copy(raw: Raw, noise: list[Recording], decibel: tuple[float, float], random: np.random.Generator) -> Raw:
    """`raw` with noise of a random record, place and strength, anew every half minute."""
    values = raw.values.copy()
    piece = round(30 * raw.rate_hz)
    power = float(np.nanvar(raw.values))
    for start in range(0, len(values), piece):
        rows = values[start : start + piece]
        record = noise[random.integers(len(noise))]
        begin = int(random.integers(len(record.values) - len(rows) + 1))
        added = record.values[begin : begin + len(rows), random.integers(record.values.shape[1])]
        strength = power / max(float(np.var(added)), 1e-12) / 10 ** (random.uniform(*decibel) / 10)
        rows += (np.sqrt(strength) * (added - added.mean()))[:, None].astype(np.float32)
    return replace(raw, name=f"{raw.name} with noise", values=values)
