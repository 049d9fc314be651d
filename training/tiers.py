"""A beat model of two tiers, from recordings of many patients to a run folder.

The second tier learns from what the first one says of patients it has never seen, since that is what it will be
given; so the first tier is trained anew for each fold of patients, without them, and speaks of them. That is
cross-fitting, as in stacked generalisation (Wolpert 1992). The second tier is then trained for each fold without
its patients as well: what it says of them sets the operating point, and gives the figures in the card
(training/patients.py). What is shipped at last is one first tier and one second tier trained on all, of which no
figure in the card speaks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from monitor import __version__
from monitor.core.card import Source
from monitor.core.errors import ConfigError
from training.candidates import find_candidates
from training.config import FitConfig, RecordsData
from training.datasets import Series, load_folds
from training.models import RecurrentModel, build_model
from training.patients import FILE as PATIENTS
from training.patients import Answer, Patients, hear_others, judge
from training.pools import Windows
from training.runs import Outcome, commit_here, new_run_folder, write_json
from training.second import FILE, Candidates, SecondTier, ask, average, fit_second

GAIN_SPREAD = 0.1
"""By how much a window is made louder or softer while the first tier learns: no two hearts' gains are alike."""
AVERAGED_STEPS = 500
"""Weights are averaged over about so many of the last steps."""


def fit_tiers(config: FitConfig, data_folder: Path | None, out: Path, *, quiet: bool = False) -> Path:
    """Train the model of two tiers that `config` describes; returns the run folder, a new one below `out`."""
    source = config.data
    if config.second is None or not isinstance(source, RecordsData):
        raise ConfigError("second: expected a configuration with [second] and data.folds")
    began = time.monotonic()
    torch.set_num_threads(1)

    def say(text: str) -> None:
        if not quiet:
            print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    series, digest = load_folds(config, data_folder)
    say(f"{len(series)} records, {sum(map(len, series.values()))} series with their copies")
    found: dict[str, list[Candidates]] = {}
    views: dict[str, dict[str, Candidates]] = {}
    for held in source.folds:
        first = fit_first([one for name in series if name not in held for one in series[name]], config)
        mine = find_candidates(first, config, [one for name in held for one in series[name]])
        for name in held:
            found[name] = [mine.pop(0) for _ in series[name]]
        views |= hear_others(first, config, data_folder, held)
        say(f"first tier without {' '.join(held)}")
    first = fit_first([one for record in series.values() for one in record], config)
    say("first tier on all records")
    second, patients = fit_over(found, views, config, say)
    return write_run(first, second, config, patients, digest, time.monotonic() - began, out)


def fit_over(
    found: Mapping[str, list[Candidates]],
    views: Mapping[str, dict[str, Candidates]],
    config: FitConfig,
    say: Callable[[str], None],
) -> tuple[SecondTier, Patients]:
    """The second tier, trained on the candidates `found` in all records, and how it did on patients left out.

    `views` are other candidates that it is then judged on, by record.
    """
    source, shape = config.data, config.second
    if shape is None or not isinstance(source, RecordsData):
        raise ConfigError("second: expected a configuration with [second] and data.folds")
    classes = len(config.model.classes)
    said: dict[str, dict[str, Answer]] = {}
    copies = 1 + source.copies
    for held in source.folds:
        learned = [one for name in found if name not in held for one in found[name]]
        tier = fit_second(learned, shape, classes, config.seed)
        for name in held:
            mine = dict(zip(("lead", "lead_noise"), found[name][::copies], strict=False))
            said[name] = {view: (one, ask(tier, one.rows)) for view, one in (mine | views[name]).items()}
        say(f"second tier without {' '.join(held)}")
    patients, biases = judge(said, config)
    tier = fit_second([one for record in found.values() for one in record], shape, classes, config.seed)
    with torch.no_grad():
        tier.outward.bias.add_(torch.from_numpy(biases).float())
    say("second tier on all records")
    return tier, patients


def write_run(
    first: RecurrentModel,
    second: SecondTier,
    config: FitConfig,
    patients: Patients,
    digest: str,
    seconds: float,
    out: Path,
) -> Path:
    """Everything that came of it, in a new folder below `out`."""
    source = config.data
    if not isinstance(source, RecordsData):
        raise ConfigError("data.source: expected 'records'")
    folder = new_run_folder(out, config.name)
    write_json(folder / "config.json", config)
    for file, tier in (("weights.safetensors", first), (FILE, second)):
        save_file({name: value.contiguous() for name, value in tier.state_dict().items()}, folder / file)
    outcome = Outcome(
        seed=config.seed,
        data=Source(
            name=source.name,
            licence=source.licence,
            digest=digest,
            train="records " + " ".join(patients.records),
            validation=f"the same, {len(source.folds)} times without the patients that were judged",
        ),
        rate_hz=config.model.rate_hz,
        channels=1,
        unit=config.unit,
        thresholds={"V": 0.5},
        beat_level=0.5,
        metrics=patients.figures("lead"),
        best_epoch=config.train.epochs,
        epochs=config.train.epochs,
        parameters=sum(weight.numel() for tier in (first, second) for weight in tier.parameters()),
        seconds=round(seconds, 1),
        device="cpu",
        torch=str(torch.__version__),
        code=__version__,
        commit=commit_here(),
    )
    write_json(folder / "outcome.json", outcome)
    write_json(folder / PATIENTS, patients)
    return folder


def fit_first(series: Sequence[Series], config: FitConfig) -> RecurrentModel:
    """The first tier, trained on `series` for all its epochs: there is nobody left to choose an epoch on."""
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    schedule = config.train
    pool = Windows(list(series), config, "cpu")
    model = build_model(config, 1)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    steps = schedule.epochs * pool.batches
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.learning_rate, total_steps=steps)
    averaged = [weight.detach().clone() for weight in model.parameters()]
    model.train()
    for _ in range(schedule.epochs):
        for values, marks in pool.draw(random):
            louder = 1 + GAIN_SPREAD * torch.randn(len(values), 1, 1)
            loss, _ = model.loss(values * louder, marks, schedule.first_step)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip or float("inf"))
            optimiser.step()
            rates.step()
            average(averaged, model.parameters(), min(AVERAGED_STEPS, max(steps // 5, 1)))
    with torch.no_grad():
        for mean, weight in zip(averaged, model.parameters(), strict=True):
            weight.copy_(mean)
    return model.eval()
