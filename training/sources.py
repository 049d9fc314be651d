"""Where training data comes from: the `[data]` of a configuration, one struct for each `source`."""

from __future__ import annotations

import msgspec

from monitor.core.signals import SignalName


class Minutes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long each part of a simulated signal is, in minutes."""

    train: float = 60.0
    validation: float = 15.0
    calibration: float = 60.0
    test: float = 60.0


class SimulatedData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="simulated", tag_field="source"):
    """A simulated signal: each part is a realisation of its own."""

    signal: SignalName = "noisy-sine"
    rate_hz: float = 50.0
    noise: float = 0.1
    spikes_per_minute: float = 0.0
    """While learning (train and validation)."""
    live_spikes_per_minute: float = 0.0
    """While calibrating and testing: as often as on the stream the model will watch."""
    minutes: Minutes = Minutes()


class RecordsData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="records", tag_field="source"):
    """WFDB records, one patient each, split by patient; the folder that holds them comes from `--data`."""

    name: str
    """Of the database, with its identifier, for the card."""
    licence: str
    folder: str
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    folds: tuple[tuple[str, ...], ...] = ()
    """In place of the parts, for a model of two tiers: patients to leave out in turn. See training/tiers.py."""
    lead: str = "MLII"
    """The channel to take; where a record has none of this name, its first."""
    copies: int = 0
    """Further copies of each training record, its first two leads mixed at a random angle (a heart seen from
    another side) and played a little faster or slower."""
    stretch: float = 0.1
    """By how much, at most, a copy is faster or slower: 0.1 for ten percent."""
    spikes_per_minute: float = 0.0
    """classify: spikes put into every record, which its labels then speak of in place of its own: 1 to 3 samples
    high or low by `spike_sizes`, in standard deviations of the record."""
    spike_sizes: tuple[float, float] = (0.5, 5.0)
    noise: tuple[str, ...] = ()
    """Records of noise, below the same `--data`, mixed into copies of the training records."""
    noise_db: tuple[float, float] = (0.0, 18.0)
    """Range of the signal-to-noise ratio of those copies."""
    noise_share: float = 0.33
    """Share of the training windows that comes from the noisy copies."""


class RecordingData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="recording", tag_field="source"):
    """One recording, split by time: first what is trained on, last what is tested on."""

    path: str
    rate_hz: float | None = None
    """Of a CSV file without a time column."""
    shares: tuple[float, float, float, float] = (0.7, 0.1, 0.1, 0.1)
    """Of train, validation, calibration and test, in order of time."""
    first: int = 0
    """Learn from its first so many samples alone; 0 for all."""


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people said of a model's alarms, to learn from beside the data: see training/feedback.py."""

    path: str
    """A file of labels, as `monitor alarms export --labels` writes it."""
    recordings: str = "."
    """The folder that `monitor record` wrote the streams into."""
    share: float = 0.5
    """Share of the training windows that is drawn from what the labels speak of."""


class SymbolsData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="symbols", tag_field="source"):
    """Sequences of symbols, to foresee the next one.

    They are the characters of a text, the cells of a CSV column, or the annotated beats of a WFDB record: what a
    path is, its ending says. Paths are taken from `--data` where that is given.
    """

    train: tuple[str, ...]
    """Where these stand alone, each is split by time into all four parts."""
    validation: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    column: str = ""
    """Of a CSV file; its first by default."""
    rate_hz: float = 1.0
    """Symbols a second, where symbols come evenly."""
    shares: tuple[float, float, float, float] = (0.7, 0.1, 0.1, 0.1)
