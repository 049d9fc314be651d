"""What a model is judged on: recordings, folders of them, or the signal it was trained on, and noise if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from monitor.core.card import Card
from monitor.core.errors import ConfigError
from monitor.core.signals import open_signal
from monitor.core.windows import seconds_to_samples
from monitor.recordings import TOY, Recording, read_recording
from training.records import Raw, noisy_copy

SIMULATED = "simulated"


@dataclass(frozen=True)
class Settings:
    """How to evaluate."""

    block_samples: int = 0
    """Samples a block; 0 for a second's."""
    records: tuple[str, ...] = ()
    """Of a folder, only these."""
    limit_s: float = 0.0
    """Only so much of the beginning of each; 0 for all."""
    lead: str = ""
    """The channel to show the model first; empty for that it was trained on, where a recording has it."""
    rate_hz: float | None = None
    """Of CSV files without a time column."""
    seconds: float = 3600.0
    """simulated: how long."""
    seed: int = 0
    """simulated: of the signal."""
    spikes_per_minute: float | None = None
    """simulated: None for what the model is meant to watch."""
    noise: tuple[str, ...] = ()
    """Recordings of noise to mix into every recording, a random one anew every half minute."""
    noise_db: float = 12.0
    """Signal-to-noise ratio, of the variances, that results."""
    jobs: int = 0
    """Processes; 0 for one a core."""
    mode: Literal["both", "window", "leapfrog"] = "both"
    """How to run the model; both where it can."""


AS_USUAL = Settings()


def find_sources(data: str, wanted: Sequence[str], card: Card) -> list[str]:
    """Paths of the recordings that `data` means: itself, or what the folder holds."""
    folder = Path(data)
    if data == TOY or not folder.is_dir():
        if wanted:
            raise ConfigError(f"--records: {data} is no folder; it is for folders of recordings")
        return [data]
    headers = {path.stem: str(path.with_suffix("")) for path in sorted(folder.glob("*.hea"))}
    tables = {path.stem: str(path) for path in sorted(folder.glob("*.csv"))}
    found = headers | tables
    if wanted:
        if missing := [name for name in wanted if name not in found]:
            raise ConfigError(f"--records: {data} holds no {', '.join(missing)}")
        return [found[name] for name in wanted]
    labelled = {name: path for name, path in headers.items() if (folder / f"{name}.atr").is_file()} | tables
    if not labelled and card.task == "forecast":
        labelled = found
    if not labelled:
        raise ConfigError(
            f"{data}: expected WFDB records with .atr or .csv files, got none; is this the right folder?"
        )
    return list(labelled.values())


def read_source(source: str, settings: Settings, card: Card) -> Recording:
    """The recording that `source` names, as `settings` want it; raises ConfigError or RecordingError."""
    recording = _simulate(card, settings) if source == SIMULATED else read_recording(source, settings.rate_hz)
    if settings.lead and settings.lead not in recording.channels:
        raise ConfigError(
            f"{recording.name}: expected a channel {settings.lead}, got {', '.join(recording.channels)}"
        )
    if settings.noise:
        noise = [read_recording(path) for path in settings.noise]
        clean = Raw(
            recording.name, recording.rate_hz, recording.unit, recording.values, recording.label_samples, ()
        )
        decibel = (settings.noise_db, settings.noise_db)
        mixed = noisy_copy(clean, noise, decibel, np.random.default_rng(settings.seed))
        recording = msgspec.structs.replace(recording, values=mixed.values)
    if settings.limit_s:
        samples = seconds_to_samples(settings.limit_s, recording.rate_hz)
        keep = int(np.searchsorted(recording.label_samples, samples))
        recording = msgspec.structs.replace(
            recording,
            values=recording.values[:samples],
            label_samples=recording.label_samples[:keep],
            label_symbols=recording.label_symbols[:keep],
        )
    if card.task != "forecast" and not recording.label_symbols and source != SIMULATED:
        raise ConfigError(
            f"{recording.name}: expected labels to judge a model of task {card.task} against, got none; a WFDB "
            "record needs its .atr, a .csv file a column 'label'"
        )
    return recording


def _simulate(card: Card, settings: Settings) -> Recording:
    """The signal that the model was trained on, at a seed of its own."""
    signal_name = trained_with(card, "data.signal")
    if signal_name is None:
        raise ConfigError(
            f"DATA: {card.name} was not trained on a simulated signal; expected a recording or a folder"
        )
    spikes = settings.spikes_per_minute
    if spikes is None:
        spikes = float(str(trained_with(card, "data.live_spikes_per_minute") or 0.0))
    signal = open_signal(
        signal_name,
        rate_hz=card.rate_hz,
        seed=settings.seed,
        noise=float(str(trained_with(card, "data.noise") or 0.0)),
        spikes_per_minute=spikes,
    )
    values, labels = signal.next(max(seconds_to_samples(settings.seconds, card.rate_hz), 1))
    at = np.array([index for index, _ in labels], np.int64)
    name = f"{signal_name}-{settings.seed}"
    return Recording(
        name, card.rate_hz, signal.channels, signal.unit, values, at, tuple(kind for _, kind in labels), 0
    )


def trained_with(card: Card, key: str) -> Any:
    """What the training configuration in the card says of `key`, None where it says nothing."""
    value = card.training.get(key)
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
