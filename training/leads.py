"""A beat model of one lead, made to listen to two.

The same network hears each lead on its own. Where beats are is told by the first lead alone, for a second one
often hardly shows them; which class they have by the mean of both leads' log odds, as of two witnesses neither of
whom is known to be the better one (a logarithmic opinion pool: Genest & Zidek 1986, Stat. Sci. 1(1):114-135).
Two networks side by side are one network with twice the units, its matrices zero from one side to the other: so it
is exported, leapfrogs and is served as any other.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor

from monitor.core.errors import ConfigError
from training.models import BeatFinder, RecurrentModel

LEADS = 2


def hear_both(one: RecurrentModel) -> BeatFinder:
    """The model of two channels that hears `one` on each, the second tier's shapes being those of the first.

    Raises ConfigError for a model that finds no beats, or does not hear exactly one channel.
    """
    if not isinstance(one, BeatFinder) or one.channels != 1:
        raise ConfigError(f"--leads {LEADS}: expected a model of one lead that finds beats; got {one.config.name}")
    config = one.config
    shape = msgspec.structs.replace(config.model, hidden=LEADS * config.model.hidden)
    both = BeatFinder(msgspec.structs.replace(config, name=f"{config.name}-{LEADS}", model=shape), LEADS)
    known = one.state_dict()
    weights: dict[str, Tensor] = {name: value.repeat(LEADS) for name, value in known.items() if "scaling." in name}
    weights |= {name: value for name, value in known.items() if name not in weights}
    weights["scaling.floor"] = known["scaling.floor"]
    for name, value in one.named_parameters():
        if name.startswith("recurrence."):
            reads_signal = name.startswith("recurrence.weight_ih_l0")
            gates = torch.split(value.detach(), config.model.hidden)  # each (hidden, ...)
            weights[name] = torch.cat([_side_by_side(gate, reads_signal) for gate in gates])
    weights["beat.weight"] = torch.cat((known["beat.weight"], torch.zeros_like(known["beat.weight"])), dim=1)
    weights["kind.weight"] = known["kind.weight"].repeat(1, LEADS) / LEADS
    both.load_state_dict(weights)
    return both.eval()


def _side_by_side(gate: Tensor, reads_signal: bool) -> Tensor:
    """A gate's bias or matrix for both leads; what `reads_signal` has a column for each lead of each sample."""
    if gate.dim() == 1:
        return gate.repeat(LEADS)
    rows, columns = gate.shape
    wide = torch.zeros(LEADS, rows, LEADS, columns)
    for lead in range(LEADS):
        wide[lead, :, lead] = gate
    if reads_signal:
        wide = wide.transpose(2, 3)
    return wide.reshape(LEADS * rows, LEADS * columns)
