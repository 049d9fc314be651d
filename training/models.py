"""The networks: a recurrence over the steps of a window, and a head for each task.

Every model takes `window` (batch, time, channel) in the stream's unit and starts from a zero state; scaling and
calibration are buffers of the model, so that they go into the file with the weights. `loss` serves training, and
asks at every step from `first` on; `outputs` serves the monitor, and asks at the last.

Symbols come as numbers too: the window then holds which symbol each step is, and in place of scaling an embedding
(Bengio et al. 2003, A Neural Probabilistic Language Model) gives each symbol a learned vector of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monitor.core.card import Cell
from training.config import FitConfig, SymbolsData
from training.odds import SummedOdds
from training.scaling import Scaling, figure_at

State = Tensor | tuple[Tensor, Tensor] | None
"""What a recurrence remembers: h (layer, batch, hidden), an LSTM (h, c); None at the start of everything."""

CELLS: dict[Cell, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentModel(nn.Module):
    """What all models share: scaling, folding of samples into steps, and the recurrence."""

    def __init__(self, config: FitConfig, channels: int) -> None:
        super().__init__()
        shape = config.model
        self.config, self.channels = config, channels
        self.fold = shape.samples_per_step
        early = config.train.first_step * self.fold
        self.scaling = Scaling(channels, shape.scaling, early, self.fold, shape.scale_floor)
        symbols = isinstance(config.data, SymbolsData)
        self.embedding = nn.Embedding(len(shape.classes), shape.embedding) if symbols else None
        width = shape.embedding if symbols else (shape.frame or self.fold) * channels
        self.recurrence = CELLS[shape.cell](
            width, shape.hidden, shape.layers, batch_first=True, bidirectional=shape.bidirectional
        )

    @property
    def earliest(self) -> int:
        """The first step of a window that can be asked when the state before it is known."""
        return max(1, self.config.model.delay + 1, -(-self.config.model.direct // self.fold))

    def states(self, scaled: Tensor, first: int, before: State = None) -> tuple[Tensor, State]:
        """What the recurrence gives at each step from the `first` (counted from 1) on, and its last state."""
        batch, time, channel = scaled.shape
        if self.embedding is not None:
            numbers = scaled[:, :, 0].round().clamp(0, self.embedding.num_embeddings - 1).long()  # (batch, step)
            steps = self.embedding(numbers)  # (batch, step, feature)
        elif frame := self.config.model.frame:
            steps = scaled.unfold(1, frame, self.config.model.frame_hop).flatten(2)  # (batch, step, feature)
        else:
            steps = scaled.reshape(batch, time // self.fold, self.fold * channel)  # (batch, step, feature)
        outputs, after = self.recurrence(steps, before)  # (batch, step, hidden)
        return outputs[:, first - 1 :], after  # (batch, asked step, hidden)

    def initialise(self) -> None:
        """Xavier (Glorot & Bengio 2010) for matrices, zero for biases; an LSTM's forget gate starts open.

        orthogonal (Saxe et al. 2014): recurrent matrices turn the state without stretching it, so that neither
        it nor its gradient fades or grows from step to step at the start.
        """
        shape = self.config.model
        if shape.initialisation == "torch":
            return
        for name, weight in self.named_parameters():
            if name.startswith("recurrence.weight"):
                turns = shape.initialisation == "orthogonal" and "_hh_" in name
                for gate in torch.split(weight, shape.hidden):  # each gate is a matrix of its own
                    (nn.init.orthogonal_ if turns else nn.init.xavier_uniform_)(gate)
            elif weight.dim() >= 2:
                nn.init.xavier_uniform_(weight)
            else:
                nn.init.zeros_(weight)
                if shape.cell == "lstm" and name.startswith("recurrence.bias_ih"):
                    with torch.no_grad():
                        weight[shape.hidden : 2 * shape.hidden] = 1.0

    def loss(self, values: Tensor, marks: Tensor, first: int, before: State = None) -> tuple[Tensor, State]:
        """Mean loss over all asked steps of `values` (batch, time, channel), and the state after the last.

        `marks` (batch, time) say what is right; the recurrence begins with the state `before`.
        """
        raise NotImplementedError

    def outputs(self, window: Tensor) -> dict[str, Tensor]:
        """What the model file gives for `window` (batch, time, channel), by name."""
        raise NotImplementedError


class RecurrentForecaster(RecurrentModel):
    """The next `horizon` samples at once: their mean, and an interval that `factors` calibrate.

    The mean is the sum of what the state says and, where `direct` samples are asked for, of a linear view of the
    newest samples (the autoregressive highway of Lai et al. 2018, LSTNet): so it sets off where the signal is.
    """

    factors: Tensor

    def __init__(self, config: FitConfig, channels: int) -> None:
        super().__init__(config, channels)
        shape = config.model
        self.horizon = shape.horizon
        width = self.horizon * channels
        self.bottleneck = nn.Linear(shape.hidden, shape.rank, bias=False) if shape.rank else nn.Identity()
        self.mean = nn.Linear(shape.rank or shape.hidden, width)
        self.direct = nn.Linear(shape.direct * channels, width, bias=False) if shape.direct else None
        self.below = nn.Linear(shape.hidden, width)
        self.above = nn.Linear(shape.hidden, width)
        self.register_buffer("factors", torch.ones(self.horizon, channels))
        self.initialise()

    def heads(
        self, window: Tensor, states: Tensor, first: int, offset: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and uncalibrated half-widths below and above it, (batch, asked step, horizon, channel) each.

        All of them scaled; `offset` and `scale` are those of the asked steps.
        """
        shape = (*states.shape[:-1], self.horizon, self.channels)
        mean = self.mean(self.bottleneck(states))  # (batch, asked step, horizon * channel)
        if self.direct is not None:
            taps = self.config.model.direct
            newest = window[:, first * self.fold - taps :].unfold(1, taps, self.fold)
            newest = newest.transpose(2, 3)  # (batch, asked step, taps, channel)
            mean = mean + self.direct(((newest - offset) / scale).flatten(2))
        below = functional.softplus(self.below(states)).reshape(shape)
        above = functional.softplus(self.above(states)).reshape(shape)
        return mean.reshape(shape), below, above

    def loss(
        self,
        values: Tensor,
        marks: Tensor,  # noqa: ARG002 - what comes next is in the values
        first: int,
        before: State = None,
    ) -> tuple[Tensor, State]:
        """Error of the mean, and pinball loss of the two bounds around it (their gradient spares it)."""
        window = values[:, : -self.horizon]
        scaled, offset, scale = self.scaling(window)
        offset, scale = figure_at(offset, first), figure_at(scale, first)
        # Targets of step s are the `horizon` samples after it.
        targets = values[:, self.fold :].unfold(1, self.horizon, self.fold)[:, first - 1 :]
        targets = (targets.transpose(2, 3) - offset) / scale  # (batch, asked step, horizon, channel)
        states, after = self.states(scaled, first, before)  # (batch, asked step, hidden)
        mean, below, above = self.heads(window, states, first, offset, scale)
        error = targets - mean.detach()
        miss = (1 - self.config.model.coverage) / 2
        # Pinball loss of the quantiles `miss` and 1 - `miss`: the further outside, the dearer.
        low = torch.maximum((error + below) * miss, (error + below) * (miss - 1))
        high = torch.maximum((error - above) * (1 - miss), (error - above) * -miss)
        match self.config.train.loss:
            case "huber":  # like mse up to an error of one spread of the signal, then only linear
                off = 2 * functional.huber_loss(mean, targets)
            case "pinball":  # least at the median
                off = (targets - mean).abs().mean()
            case _:
                off = (targets - mean).square().mean()
        return off + (low + high).mean(), after

    def outputs(self, window: Tensor) -> dict[str, Tensor]:
        """`forecast`, `lower` and `upper`, each (batch, horizon, channel), in the stream's unit."""
        scaled, offset, scale = self.scaling(window)
        last = window.shape[1] // self.fold
        offset, scale = figure_at(offset, last), figure_at(scale, last)
        states, _ = self.states(scaled, last)  # (batch, 1, hidden)
        heads = self.heads(window, states, last, offset, scale)
        mean, below, above = (head[:, 0] for head in heads)  # (batch, horizon, channel)
        if offset.dim() > 1:
            offset, scale = offset[:, 0], scale[:, 0]  # (batch, 1, channel)
        return {
            "forecast": mean * scale + offset,
            "lower": (mean - below * self.factors) * scale + offset,
            "upper": (mean + above * self.factors) * scale + offset,
        }


class WindowClassifier(RecurrentModel):
    """Which of the classes the last `label_steps` steps of the window are; of symbols, which one comes next."""

    class_weights: Tensor

    def __init__(self, config: FitConfig, channels: int) -> None:
        super().__init__(config, channels)
        shape, classes = config.model, len(config.model.classes)
        self.pooled = shape.pool == "odds"
        width = shape.hidden * (1 + shape.bidirectional)
        self.kind = SummedOdds(width, shape.hidden, classes) if self.pooled else nn.Linear(width, classes)
        weights = config.train.class_weights or (1.0,) * classes
        self.register_buffer("class_weights", torch.tensor(weights), persistent=False)
        self.initialise()

    def loss(self, values: Tensor, marks: Tensor, first: int, before: State = None) -> tuple[Tensor, State]:
        """Cross-entropy at every asked step; a mark below 0 says that the step has no clear answer."""
        scaled, _, _ = self.scaling(values)
        # Pooled, only the whole window is asked: its last step, after all of them have been heard.
        states, after = self.states(scaled, 1 if self.pooled else first, before)
        logits = self.kind(states)  # (batch, asked step, class)
        asked = marks[:, self.fold - 1 :: self.fold][:, first - 1 :]  # (batch, asked step)
        loss = functional.cross_entropy(
            logits.flatten(0, 1), asked.flatten(), weight=self.class_weights, ignore_index=-1
        )
        return loss, after

    def outputs(self, window: Tensor) -> dict[str, Tensor]:
        """`probabilities` (batch, class)."""
        scaled, _, _ = self.scaling(window)
        states = self.states(scaled, 1 if self.pooled else window.shape[1] // self.fold)[
            0
        ]  # (batch, step, hidden)
        return {"probabilities": torch.softmax(self.kind(states)[:, 0], dim=-1)}


class BeatFinder(WindowClassifier):
    """Whether a beat stands `delay` steps before the end, and of which class it would be."""

    def __init__(self, config: FitConfig, channels: int) -> None:
        super().__init__(config, channels)
        self.beat = nn.Linear(config.model.hidden, 1)
        self.initialise()

    def loss(self, values: Tensor, marks: Tensor, first: int, before: State = None) -> tuple[Tensor, State]:
        """Twice the cross-entropy of a heat map around the beats, and that of the classes where there is heat.

        `marks` holds at each sample 0, or 1 + the class of the beat that stands there.
        """
        batch, time = marks.shape
        beats = marks.reshape(batch, time // self.fold, self.fold).amax(dim=2)  # (batch, step)
        # The output of step s speaks of step s - delay, which the window holds since delay < first.
        delay = self.config.model.delay
        near = functional.pad(beats, (1, 1))
        # The class of a beat also counts one step before and after it; where two meet, the one in the middle wins.
        spread = torch.where(beats > 0, beats, torch.maximum(near[:, :-2], near[:, 2:]))
        heat = torch.where(beats > 0, 1.0, torch.where(spread > 0, 0.5, 0.0))  # (batch, step)
        asked = slice(first - 1 - delay, time // self.fold - delay)
        spread, heat = spread[:, asked], heat[:, asked]  # (batch, asked step)
        scaled, _, _ = self.scaling(values)
        states, after = self.states(scaled, first, before)  # (batch, asked step, hidden)
        found = functional.binary_cross_entropy_with_logits(self.beat(states)[..., 0], heat)
        kinds = functional.cross_entropy(
            self.kind(states).flatten(0, 1),
            (spread - 1).flatten(),
            weight=self.class_weights,
            ignore_index=-1,
            reduction="none",
        )
        kinds = (kinds * heat.flatten()).sum() / heat.sum().clamp(min=1.0)
        return 2 * found + kinds, after

    def outputs(self, window: Tensor) -> dict[str, Tensor]:
        """`beat` (batch, 1) and `probabilities` (batch, class)."""
        scaled, _, _ = self.scaling(window)
        state = self.states(scaled, window.shape[1] // self.fold)[0][:, 0]  # (batch, hidden)
        return {
            "beat": torch.sigmoid(self.beat(state)),
            "probabilities": torch.softmax(self.kind(state), dim=-1),
        }


def build_model(config: FitConfig, channels: int) -> RecurrentModel:
    """The model that the configuration asks for, freshly initialised from torch's generator."""
    match config.task:
        case "forecast":
            return RecurrentForecaster(config, channels)
        case "classify":
            return WindowClassifier(config, channels)
        case "beats":
            return BeatFinder(config, channels)
