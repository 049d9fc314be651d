"""The network over beats of the exercise char-rnn as a run folder, and a stream of beats to watch it on.

The exercise carries one state from the first beat on; the monitor starts each window from an empty one. So what is
served is the same network over windows of as many beats as it was trained on at a time. What that costs, on the
same beats, is told beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.card import Cell, Source
from monitor.core.errors import ConfigError
from training.config import FitConfig, ModelShape, Schedule, SymbolsData
from training.exercises.keeping import keep_model
from training.exercises.result import Options
from training.exercises.rhythms import PAUSE
from training.exercises.symbols import NextSymbol, Vocabulary
from training.runs import Outcome

NAME = "next-beat"
STREAM = "rhythms.csv"
LEARNED, JUDGED = "rhythms-learned.txt", "rhythms-judged.txt"
WINDOW = 50
"""Beats; fewer where there are hardly any."""
RATE_HZ = 1.0
"""The monitor's samples come evenly, so the beats of the stream do, too."""
EXPECTED = 0.5
"""Probability from which a beat is flagged as coming: it is then likelier than all others together."""


@dataclass(frozen=True)
class Trained:
    """The network over beats, and how it was trained."""

    model: NextSymbol
    vocabulary: Vocabulary
    cell: Cell
    epochs: int
    rows: int
    """Streams read side by side."""
    rate: float
    seconds: float


def keep_rhythms(
    trained: Trained, train: str, test: str, surprise: NDArray[np.float64], source: str, options: Options
) -> tuple[Path, str]:
    """The run folder, and what there is to say of it; `surprise` (time,) is that of `test`, the state carried."""
    learned, judged = options.out / LEARNED, options.out / JUDGED
    # The most frequent beat first: a model's first class is the quiet one.
    classes = sorted(trained.vocabulary.idx2char, key=lambda beat: (beat == PAUSE, -train.count(beat), beat))
    try:
        learned.write_text(PAUSE + train, encoding="utf-8")
        judged.write_text(test, encoding="utf-8")
        _write_stream(options.out / STREAM, [classes.index(beat) for beat in test])
    except OSError as error:
        raise ConfigError(f"--out {options.out}: cannot be written: {error.strerror}") from error

    window = min(WINDOW, len(test) // 2, (len(train) + 1) // 2)
    weights = trained.model.state_dict()
    _, hidden = weights["recurrence.weight_hh_l0"].shape
    config = FitConfig(
        name=NAME,
        task="classify",
        seed=options.seed,
        data=SymbolsData(
            train=(str(learned),),
            validation=(str(judged),),
            calibration=(str(judged),),
            test=(str(judged),),
            rate_hz=RATE_HZ,
        ),
        model=ModelShape(
            cell=trained.cell,
            hidden=hidden,
            embedding=weights["embedding.weight"].shape[1],
            window=window,
            hop=1,
            classes=tuple(classes),
            label_steps=1,
        ),
        train=Schedule(
            epochs=trained.epochs,
            batch=trained.rows,
            first_step=min(10, window),
            learning_rate=trained.rate,
            weight_decay=0.0,
            schedule="constant",
            stateful=True,
            forget=0.0,
        ),
    )
    order = [trained.vocabulary.char2idx[beat] for beat in classes]
    kept = {name: value for name, value in weights.items() if name.startswith("recurrence")}
    kept["embedding.weight"] = weights["embedding.weight"][order]
    kept |= {f"kind.{part}": weights[f"next.{part}"][order] for part in ("weight", "bias")}
    flagged = {beat: EXPECTED for beat in classes[1:] if beat != PAUSE}
    digest = hashlib.sha256((PAUSE + train).encode()).hexdigest()
    told = Source("exercise char-rnn, beats", "", digest, f"{source}; {LEARNED}")
    run = keep_model(
        config, kept, told, options.out, steps=trained.epochs, seconds=trained.seconds, thresholds=flagged
    )
    outcome = msgspec.json.decode((run / "outcome.json").read_bytes(), type=Outcome)
    numbers = ", ".join(f"{number} {beat}" for number, beat in enumerate(classes) if beat != PAUSE)
    carried = float(np.mean(surprise[window:]))
    return run, (
        f"The network over beats is a run folder: `training export` makes a file of it, {NAME}.onnx, and the "
        "monitor shows it live. It is the same network, but the monitor starts each window from an empty state: "
        f"over windows of {window} beats it has {outcome.metrics['surprise']:.4f} nats a beat, with the state "
        f"carried from the first beat on {carried:.4f} on the same beats. It reads the number of each beat "
        f"({numbers}), one a second, and flags {', '.join(flagged)} where such a beat is expected next: so not at "
        "a rhythm's first beats, which surprise it, but from where it has caught on. "
        f"{STREAM} beside this table holds the beats it was judged on, to watch it on: `monitor replay {STREAM} "
        f'--stream beats/1 --speed 10`, with models = ["{NAME}"] for the streams beats/* of the daemon. The '
        "network over characters begins with the first letter of its text and nowhere else: of it there is "
        "nothing to watch."
    )


def _write_stream(path: Path, numbers: list[int]) -> None:
    """A recording for `monitor replay` whose values are the `numbers` of beats.

    Without labels: a flag speaks of the beat to come, and who judges it by labels takes it for the last one.
    """
    lines = [f"{i / RATE_HZ:g},{number}" for i, number in enumerate(numbers)]
    path.write_text("\n".join(["time,beat", *lines]) + "\n", encoding="utf-8")
