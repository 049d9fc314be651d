"""From signals and recordings to windows: split first, then condition, then cut.

The parts (train, validation, calibration, test) are separated before any window is cut: simulated signals are
realisations of their own, records are other patients, a single recording is cut by time. Each part is then
conditioned on its own by the very `monitor.core.conditioning.Conditioner` and cut by the very
`monitor.core.windows.Windows` that the monitor uses.

Invariant: a window, together with what it is asked to forecast, lies within one part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from monitor.core.blocks import Floats, Ints
from monitor.core.conditioning import Conditioner, fill_gaps
from monitor.core.errors import ConfigError, RecordingError
from monitor.core.signals import open_signal
from monitor.core.windows import Windows
from monitor.recordings import AAMI, read_recording
from training.config import Feedback, FitConfig, RecordingData, RecordsData, SimulatedData, SymbolsData
from training.feedback import Heard, read_feedback, without_true
from training.records import Raw, read_folds, read_records
from training.symbols import PARTS, read_symbols

_CHUNK = 4096
LONGEST_GAP = 10
"""Missing samples in a row that are interpolated; at more of them a recording is cut."""
TAIL_SAMPLES = 4
"""What a spike may last after its first sample."""


@dataclass(frozen=True)
class Series:
    """A stretch at the model's rate, conditioned as the monitor would."""

    name: str
    values: Floats
    """(time, channel)"""
    at: Ints
    """Labelled samples, at the model's rate."""
    kinds: Ints
    """Class of each label."""
    noisy: bool = False
    """A copy with noise added."""
    marks: Ints | None = None
    """(time,) what each sample says to the loss, where people said it: -1 where nobody has said anything."""
    flutter: tuple[tuple[float, float], ...] = ()
    """First and last sample of each stretch without beats to be told."""


@dataclass(frozen=True)
class Data:
    """All parts of what a model learns from and is judged on."""

    parts: dict[str, list[Series]]
    rate_hz: float
    channels: int
    unit: str
    digest: str
    """SHA-256 over names, values and labels of all parts, before conditioning."""
    classes: tuple[str, ...]
    """Of the configuration; of symbols the vocabulary."""
    told: dict[str, str] = field(default_factory=dict)
    """Name, licence, and what each part is, for the card."""


def load_data(config: FitConfig, folder: Path | None) -> Data:
    """Read or simulate, split, condition; raises ConfigError or RecordingError for what cannot be used."""
    source = config.data
    raws: dict[str, list[Raw]]
    copies: list[Raw] = []
    noisy: list[Raw] = []
    classes = config.model.classes
    random = np.random.default_rng(config.seed)
    match source:
        case SimulatedData():
            raws, told = _simulate(source, config.seed), {"name": f"simulated {source.signal}"}
        case RecordsData():
            raws, copies, noisy = read_records(source, folder, random)
            told = {"name": source.name, "licence": source.licence}
            told |= {part: "records " + " ".join(getattr(source, part)) for part in PARTS}
        case RecordingData():
            raws = _cut_by_time(source, config.labels)
            told = {"name": Path(source.path).name}
        case SymbolsData():
            read, classes = read_symbols(source, folder, classes)
            nowhere = np.zeros(0, np.int64)
            raws = {part: [Raw(name, source.rate_hz, "", values, nowhere, ()) for name, values in sequences]
                    for part, sequences in read.items()}  # fmt: skip
            told = {"name": ", ".join(Path(path).name for path in source.train)}
            told |= {part: f"{sum(len(raw.values) for raw in raws[part])} symbols" for part in PARTS}
    for raw in (raw for part in raws.values() for raw in part if not isinstance(source, SymbolsData)):
        _check(raw)
    first = raws["train"][0]
    rate_hz = config.model.rate_hz or first.rate_hz
    parts = {name: [condition(raw, config, rate_hz) for raw in part] for name, part in raws.items()}
    parts["train"] += [condition(raw, config, rate_hz) for raw in copies]
    parts["train"] += [condition(raw, config, rate_hz, noisy=True) for raw in noisy]
    labelled = read_feedback(config.labels, config) if config.labels else []
    parts["train"] += [_heed(one, config, rate_hz) for one in labelled]
    span = config.model.window * config.model.samples_per_step + config.model.horizon
    for name, part in parts.items():
        if max((len(series.values) for series in part), default=0) < span:
            longest = max((len(series.values) for series in part), default=0)
            raise ConfigError(
                f"data: the {name} part has {longest} samples at {rate_hz:g} Hz, expected at least {span} (window "
                "and horizon); take a longer recording or a smaller window",
            )
    channels = first.values.shape[1]
    unit = config.unit or first.unit
    told = {part: _minutes(raws[part]) for part in PARTS} | told
    _check_classes(parts["train"], config)
    digest = _digest(
        raws | {"labels": [one.raw for one in labelled]}, classes if isinstance(source, SymbolsData) else ()
    )
    return Data(parts, rate_hz, channels, unit, digest, classes, told)


def load_folds(config: FitConfig, folder: Path | None) -> tuple[dict[str, list[Series]], str]:
    """By record: itself, its copies, and each of these with noise, for a model of two tiers; and a digest."""
    if not isinstance(config.data, RecordsData):
        raise ConfigError("data.source: expected 'records' for a model of two tiers, got another")
    raws = read_folds(config.data, folder, np.random.default_rng(config.seed))
    for raw, _ in (one for record in raws.values() for one in record):
        _check(raw)
    series = {
        name: [condition(raw, config, config.model.rate_hz, noisy=noisy) for raw, noisy in record]
        for name, record in raws.items()
    }
    _check_classes([one for record in series.values() for one in record], config)
    originals: dict[str, list[Raw]] = {part: [] for part in PARTS}
    originals["train"] = [record[0][0] for record in raws.values()]
    return series, _digest(originals, ())


def cut_windows(series: Series, config: FitConfig, hop: int, future: int = 0) -> tuple[Floats, Ints, Ints]:
    """All windows of `series`, every `hop` samples, each with the `future` samples that follow it.

    Returns values (n, time, channel), marks (n, time) as the model's loss wants them, and the position of each
    window's end (n,): samples of the series up to the end of its history.
    """
    span = config.model.window * config.model.samples_per_step + future
    marks = mark_samples(series, config)
    both = np.concatenate((series.values, marks[:, None].astype(np.float32)), axis=1)
    windows = Windows(span, hop, both.shape[1], 1)
    slot = np.zeros(1, np.int64)
    values, ends = [np.zeros((0, span, both.shape[1]), np.float32)], [np.zeros(0, np.int64)]
    for start in range(0, len(both), _CHUNK):
        piece = both[start : start + _CHUNK]
        _, end, window = windows.push(slot, np.array([len(piece)]), piece)
        values.append(window)
        ends.append(end)
    cut = np.concatenate(values)  # (n, time, channel + 1)
    return cut[:, :, :-1], cut[:, :, -1].astype(np.int64), np.concatenate(ends) - future


def mark_samples(series: Series, config: FitConfig) -> Ints:
    """What each sample (time,) says to the loss.

    classify: the class that a window ending here should be given, -1 where that is not clear; of symbols the next.
    beats: 1 + the class of the beat that stands here, or 0.
    """
    if series.marks is not None:
        return series.marks
    marks = np.zeros(len(series.values), np.int64)
    if isinstance(config.data, SymbolsData):
        marks[:] = -1
        marks[:-1] = series.values[1:, 0]
    elif config.task == "beats":
        marks[series.at] = 1 + series.kinds
    elif config.task == "classify":
        reach = config.model.label_steps * config.model.samples_per_step
        reach = reach or config.model.window * config.model.samples_per_step
        for at, kind in zip(series.at, series.kinds, strict=True):
            after = marks[at + reach : at + reach + TAIL_SAMPLES]
            after[after == 0] = -1  # it has begun before, but may not be over
            marks[at : at + reach] = kind
    return marks


def _simulate(source: SimulatedData, seed: int) -> dict[str, list[Raw]]:
    raws = {}
    for i, part in enumerate(PARTS):
        live = part in ("calibration", "test")
        signal = open_signal(
            source.signal,
            rate_hz=source.rate_hz,
            seed=int(np.random.SeedSequence([seed, i]).generate_state(1)[0]),
            noise=source.noise,
            spikes_per_minute=source.live_spikes_per_minute if live else source.spikes_per_minute,
        )
        values, labels = signal.next(round(getattr(source.minutes, part) * 60 * source.rate_hz))
        at = np.array([index for index, _ in labels], np.int64)
        name = f"{source.signal} {part}"
        raws[part] = [Raw(name, source.rate_hz, signal.unit, values, at, tuple(kind for _, kind in labels))]
    return raws


def _cut_by_time(source: RecordingData, labels: Feedback | None) -> dict[str, list[Raw]]:
    recording = read_recording(source.path, source.rate_hz)
    if labels is not None:
        recording = without_true(recording, labels)
    if min(source.shares) <= 0 or abs(sum(source.shares) - 1) > 1e-6:
        raise ConfigError(f"data.shares: expected four positive shares that add up to 1, got {source.shares}")
    samples = min(source.first or len(recording.values), len(recording.values))
    bounds = np.round(np.cumsum((0.0, *source.shares)) * samples).astype(int).tolist()
    raws = {}
    for part, start, end in zip(PARTS, bounds[:-1], bounds[1:], strict=True):
        inside = (recording.label_samples >= start) & (recording.label_samples < end)
        symbols = tuple(s for s, keep in zip(recording.label_symbols, inside, strict=True) if keep)
        at = recording.label_samples[inside] - start
        name = f"{recording.name} {part}"
        whole = Raw(name, recording.rate_hz, recording.unit, recording.values[start:end], at, symbols)
        raws[part] = without_gaps(whole)
    return raws


def without_gaps(raw: Raw) -> list[Raw]:
    """`raw` in pieces with at most LONGEST_GAP missing samples in a row each; constant ones are left out."""
    missing = np.atleast_1d(np.isnan(raw.values).any(axis=1))
    edges = np.flatnonzero(np.diff(missing.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    gaps = [(int(start), int(end)) for start, end in edges if end - start > LONGEST_GAP]
    if not gaps:
        return [raw]
    found = []
    for start, end in zip(
        [0, *(end for _, end in gaps)], [*(start for start, _ in gaps), len(missing)], strict=True
    ):
        values, inside = raw.values[start:end], (raw.at >= start) & (raw.at < end)
        if len(values) > 1 and np.nanmin(values) < np.nanmax(values):
            symbols = tuple(s for s, keep in zip(raw.symbols, inside, strict=True) if keep)
            found.append(replace(raw, values=values, at=raw.at[inside] - start, symbols=symbols, flutter=()))
    return found or [raw]


def _check(raw: Raw) -> None:
    """Refuse what no model can learn from."""
    for channel in range(raw.values.shape[1]):
        column = raw.values[:, channel]
        known = column[np.isfinite(column)]
        if not len(known):
            raise RecordingError(f"data: {raw.name}, channel {channel + 1}: expected numbers, got no finite value")
        if known.min() == known.max():
            raise RecordingError(
                f"data: {raw.name}, channel {channel + 1}: expected a signal, got the constant {known[0]:g}; "
                "is this the right channel?",
            )


def _check_classes(part: list[Series], config: FitConfig) -> None:
    """Refuse to learn classes of which the training part shows but one."""
    if config.task == "forecast" or isinstance(config.data, SymbolsData):
        return
    quiet, *others = config.model.classes
    there = {int(kind) for series in part for kind in series.kinds}
    if not there - {0}:
        raise ConfigError(
            f"data: the train part holds one class only ({quiet!r}), expected labels of {', '.join(others)}; "
            "take other data, or name the labels of this data in model.classes",
        )


def condition(raw: Raw, config: FitConfig, rate_hz: float, *, noisy: bool = False) -> Series:
    """`raw` as the monitor would condition it for a model of `rate_hz`, its labels as classes of the task."""
    conditioner = Conditioner(config.conditioning, rate_hz, raw.values.shape[1], 1)
    conditioner.start(0, raw.rate_hz)
    slot = np.zeros(1, np.int64)
    finite = np.where(np.isfinite(raw.values), raw.values, np.float32(np.nan))
    filled, _ = fill_gaps(finite, np.full(raw.values.shape[1], np.nan, np.float32))
    parts = [conditioner.push(slot, filled[None, i : i + _CHUNK])[1] for i in range(0, len(filled), _CHUNK)]
    values = np.concatenate(parts)
    at = np.round(raw.at * rate_hz / raw.rate_hz).astype(np.int64) - conditioner.lead_in_samples
    inside = (at >= 0) & (at < len(values))
    kinds = np.array([_class_of(symbol, config) for symbol in raw.symbols], np.int64)
    inside &= kinds >= 0
    places = np.array(raw.flutter, np.float64).reshape(-1, 2) * rate_hz / raw.rate_hz - conditioner.lead_in_samples
    flutter = tuple((float(start), float(end)) for start, end in places)
    return Series(raw.name, values, at[inside], kinds[inside], noisy, flutter=flutter)


def _heed(heard: Heard, config: FitConfig, rate_hz: float) -> Series:
    series = condition(heard.raw, config, rate_hz)
    return replace(series, marks=heard.marks_at(rate_hz, len(series.values)))


def _class_of(symbol: str, config: FitConfig) -> int:
    """The class a label stands for; -1 for a label that this task has no class for."""
    classes = config.model.classes
    name = symbol if symbol in classes and config.task != "beats" else AAMI.get(symbol, symbol)
    if name in classes:
        return classes.index(name)
    return 0 if config.task == "beats" and name == "Q" else -1  # a beat all the same


def _digest(raws: dict[str, list[Raw]], vocabulary: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\n".join(vocabulary).encode())
    for part in (*PARTS, "labels"):
        for raw in raws.get(part, []):
            digest.update(f"{part} {raw.name} {raw.rate_hz} {' '.join(raw.symbols)}".encode())
            digest.update(np.ascontiguousarray(raw.values, "<f4").tobytes())
            digest.update(raw.at.astype("<i8").tobytes())
    return digest.hexdigest()


def _minutes(raws: list[Raw]) -> str:
    return f"{sum(len(raw.values) / raw.rate_hz for raw in raws) / 60:.1f} minutes"
