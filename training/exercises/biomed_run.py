"""The best forecaster of the biomedical exercise as a run folder, which `training export` takes."""

from __future__ import annotations

from pathlib import Path

import torch

from monitor.core.blocks import Floats
from monitor.core.card import Cell, Source
from monitor.core.conditioning import Conditioning
from monitor.core.errors import MonitorError
from monitor.recordings import TOY, read_recording
from training.config import FitConfig, ModelShape, RecordingData, Schedule
from training.exercises.keeping import digest_of, keep_model
from training.exercises.next_value import History, NextValue
from training.exercises.result import Options
from training.preparation import Scale


def keep_run(
    model: NextValue, cell: Cell, scale: Scale, clean: Floats, history: History, options: Options, rate_hz: float
) -> tuple[Path | None, str]:
    """Write the run folder; where it is, and a sentence on what is in it, or on why there is none.

    The monitor filters and resamples as `prepare` did, by the same code; it has no median filter and no search for
    outliers, which on a clean ECG change next to nothing.
    """
    recording = read_recording(options.data or TOY)
    if len(recording.channels) != 1:
        return (
            None,
            "No run folder: the network reads the first channel, the monitor would send it all.",
        )
    window = 50
    config = FitConfig(
        name="biomed-next-value",
        task="forecast",
        seed=options.seed,
        unit=recording.unit,
        data=RecordingData(path=str(options.data or TOY)),
        conditioning=Conditioning(low_pass_hz=0.4 * rate_hz),
        model=ModelShape(
            cell=cell,
            hidden=model.recurrence.hidden_size,
            rate_hz=rate_hz,
            window=window,
            hop=1,
            horizon=1,
            scaling="fixed",
        ),
        train=Schedule(epochs=len(history.train), batch=64, first_step=window, learning_rate=1e-3),
    )
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    weights["scaling.offset"] = torch.tensor([float(scale.offset)])
    weights["scaling.scale"] = torch.tensor([float(scale.spread)])
    learned = f"{len(clean)} samples from the start, at {rate_hz:g} Hz, 70 % to train on"
    source = Source(recording.name, "", digest_of(clean.astype("f8")), learned)
    try:
        folder = keep_model(
            config, weights, source, options.out, steps=history.best_epoch, seconds=history.seconds
        )
    except MonitorError as error:
        return (
            None,
            f"No run folder: its interval cannot be calibrated on this recording ({error}).",
        )
    return folder, (
        f"The best network split by time ({cell.upper()}, hidden {config.model.hidden}) is kept as a run that "
        "`training export` takes. It answers on a whole window and forecasts one value."
    )
