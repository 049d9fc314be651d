"""Several runs side by side: how good, how large, how long to train, how fast to ask, in which form to forecast.

Inference is timed as the monitor does it: the exported graph in onnxruntime on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from monitor.core.blocks import Floats
from monitor.core.card import OUTPUTS
from monitor.core.errors import ConfigError, MonitorError
from monitor.inference import open_session
from training.config import FitConfig, RecordsData, flat
from training.datasets import Data, cut_windows, load_data
from training.exercises.result import Cell, Table
from training.export import example_windows, prove
from training.forms import FormFigures, best_times, compare_forms, slide
from training.graph import build_graph
from training.ranking import headline
from training.runs import Outcome, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BATCHES = (1, 64)
_MOST_WINDOWS = 256


@dataclass(frozen=True)
class Compared:
    """One run."""

    label: str
    run: str
    config: FitConfig
    outcome: Outcome
    parameters: int
    bytes: int
    """Of the graph, without its card."""
    direct_us: dict[int, float]
    """One call, by batch size, in microseconds."""
    slide_us: dict[int, float]
    """A whole forecast in the sliding form; empty unless it is a forecaster."""
    forms: FormFigures | None = None


def compare(runs: list[Path], data_folder: Path | None, say: Callable[[str], None] = print) -> list[Compared]:
    """Measure `runs`; raises ConfigError for one that is not a finished run."""
    read = [(run, *read_run(run)) for run in runs]
    graphs = [build_graph(model).SerializeToString() for *_, model in read]
    asks = []
    for (_, config, _, model), graph in zip(read, graphs, strict=True):
        prove(graph, model, lambda _: None)
        asks.append(_ask(graph, config))
    direct: list[dict[int, float]] = [{} for _ in read]
    slid: list[dict[int, float]] = [{} for _ in read]
    for batch in BATCHES:
        say(f"timing batches of {batch}")
        calls, places = [], []
        for i, (_, config, _, model) in enumerate(read):
            window = example_windows(model, batch, config.model.window, seed=0)
            calls.append(_call(asks[i], window))
            places.append((direct[i], i))
            if config.task == "forecast":
                calls.append(_call(_sliding(asks[i], config.model.horizon), window))
                places.append((slid[i], i))
        for (place, _), seconds in zip(places, best_times(calls), strict=True):
            place[batch] = 1e6 * seconds
    found, kept = [], dict[bytes, Data]()
    for i, (run, config, outcome, model) in enumerate(read):
        forms = None
        if config.task == "forecast":
            try:
                forms = compare_forms(asks[i], *_test_windows(config, outcome, data_folder, kept))
            except MonitorError as error:
                say(f"{run}: its forecast forms are timed, not judged: {error}")
        shape = config.model
        layers = f"x{shape.layers}" if shape.layers > 1 else ""
        label = f"{i + 1} {shape.cell}-{shape.hidden}{layers}"
        parameters = sum(weight.numel() for weight in model.parameters())
        found.append(
            Compared(label, str(run), config, outcome, parameters, len(graphs[i]), direct[i], slid[i], forms)
        )
    return found


def differing_keys(compared: list[Compared]) -> set[str]:
    """The configuration's keys in which these runs are not all alike."""
    told = [flat(run.config) for run in compared]
    return {key for one in told for key in one if any(other.get(key) != one[key] for other in told)}


def comparison_table(compared: list[Compared]) -> Table:
    """One column a run, one row a property; x is relative to the first run."""
    rows: list[tuple[Cell, ...]] = []

    def row(name: str, of: Callable[[Compared], Cell], *, relative: bool = False) -> None:
        cells = [of(run) for run in compared]
        if any(cell is not None for cell in cells):
            rows.append((name, *cells))
            first = cells[0]
            if relative and isinstance(first, int | float):
                rows.append(("  x", *(c / first if isinstance(c, int | float) else None for c in cells)))

    row("model", lambda run: run.config.name)
    row("window, horizon", lambda run: f"{run.config.model.window}, {run.config.model.horizon}")
    row("seed", lambda run: run.config.seed)
    row("parameters", lambda run: run.parameters)
    row("graph, KiB", lambda run: run.bytes / 1024)
    row("training, s", lambda run: run.outcome.seconds)
    row("epochs (best)", lambda run: f"{run.outcome.epochs} ({run.outcome.best_epoch})")
    row("validation loss", lambda run: run.outcome.validation_loss)
    for name in dict.fromkeys(name for run in compared for name in headline(run.outcome.metrics)):
        row(f"test: {name}", lambda run, name=name: run.outcome.metrics.get(name))  # type: ignore[misc]
    for batch in BATCHES:
        row(f"one call, batch {batch}, us", lambda run, b=batch: run.direct_us[b], relative=True)  # type: ignore[misc]
        row(f"sliding, batch {batch}, us", lambda run, b=batch: run.slide_us.get(b))  # type: ignore[misc]
        row("  times one call", lambda run, b=batch: _times_direct(run, b))  # type: ignore[misc]
    for name, field in (("mse, one call", "mse_direct"), ("mse, sliding", "mse_slide"), ("apart", "rms_apart")):
        row(f"forms: {name}", lambda run, f=field: getattr(run.forms, f, None))  # type: ignore[misc]
    runs = "\n".join(f"{run.label}: {run.run}" for run in compared)
    note = (
        f"{runs}\n\nx: relative to the first. Times are of onnxruntime on one thread, the best of interleaved "
        "rounds. Sliding asks the model once a step, over its own forecasts; apart is the root mean square "
        "between the two forms, over the spread of the signal."
    )
    return Table("runs compared", ("", *(run.label for run in compared)), rows, note)


def comparison_json(compared: list[Compared]) -> list[dict[str, Any]]:
    """The same for a program."""
    told = []
    for run in compared:
        forms = asdict(run.forms) if run.forms else None
        told.append(
            {
                "run": run.run,
                "name": run.config.name,
                "task": run.config.task,
                "cell": run.config.model.cell,
                "layers": run.config.model.layers,
                "hidden": run.config.model.hidden,
                "window": run.config.model.window,
                "horizon": run.config.model.horizon,
                "seed": run.config.seed,
                "parameters": run.parameters,
                "graph_bytes": run.bytes,
                "training_seconds": run.outcome.seconds,
                "validation_loss": run.outcome.validation_loss,
                "metrics": run.outcome.metrics,
                "one_call_us": run.direct_us,
                "sliding_us": run.slide_us or None,
                "forms": forms,
            }
        )
    return told


def draw_comparison(compared: list[Compared], path: Path) -> None:
    """All of it as one PNG: a panel of bars for each property."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for run in compared for name in headline(run.outcome.metrics)))
    names = names[: 1 if any(run.forms for run in compared) else 2]
    panels: list[tuple[str, dict[str, list[float | None]]]] = [
        (f"{name}, test part", {"": [run.outcome.metrics.get(name) for run in compared]}) for name in names
    ]
    panels += [
        ("parameters", {"": [run.parameters for run in compared]}),
        ("training, s", {"": [run.outcome.seconds for run in compared]}),
        ("a window, us", {f"batch {b}": [run.direct_us[b] / b for run in compared] for b in BATCHES}),
    ]
    if any(run.slide_us for run in compared):
        cost: dict[str, list[float | None]] = {"one call": [run.direct_us[64] / 64 for run in compared]}
        cost["sliding"] = [run.slide_us[64] / 64 if run.slide_us else None for run in compared]
        panels.append(("a forecast, us at batch 64", cost))
    if any(run.forms for run in compared):
        forms = (("one call", "mse_direct"), ("sliding", "mse_slide"))
        errors = {name: [getattr(run.forms, field, None) for run in compared] for name, field in forms}
        panels.append(("mean squared error", errors))
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(12, rows * (1.6 + 0.35 * len(compared))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.ravel(figure.subplots(rows, 3, squeeze=False))
    for ax, (title, bars) in zip(axes, panels, strict=False):
        _draw_bars(ax, title, bars, [run.label for run in compared])
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written: {error.strerror}") from error


def _draw_bars(ax: Axes, title: str, bars: dict[str, list[float | None]], labels: list[str]) -> None:
    height = 0.8 / len(bars)
    for k, (name, values) in enumerate(bars.items()):
        at = np.arange(len(values)) + (k - (len(bars) - 1) / 2) * height
        drawn = ax.barh(at, [value or 0.0 for value in values], height, label=name)
        ax.bar_label(drawn, [_short(v) for v in values], padding=2, fontsize="small")
    if len(bars) > 1:
        ax.legend(fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)
    ax.set_yticks(np.arange(len(labels)), labels)
    ax.invert_yaxis()  # the first run on top
    ax.margins(x=0.25)
    ax.set_title(title)


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _ask(graph: bytes, config: FitConfig) -> Callable[[Floats], Floats]:
    """The exported graph as a function: windows in, the task's first output out."""
    session = open_session(graph)
    outputs = list(OUTPUTS[config.task])

    def ask(windows: Floats) -> Floats:
        answer: Floats = session.run(outputs, {"window": windows})[0]
        return answer

    return ask


def _sliding(ask: Callable[[Floats], Floats], steps: int) -> Callable[[Floats], Floats]:
    return lambda windows: slide(ask, windows, steps)


def _call(function: Callable[[Floats], Floats], windows: Floats) -> Callable[[], object]:
    return lambda: function(windows)


def _times_direct(run: Compared, batch: int) -> float | None:
    return run.slide_us[batch] / run.direct_us[batch] if batch in run.slide_us else None


def _test_windows(
    config: FitConfig, outcome: Outcome, folder: Path | None, kept: dict[bytes, Data]
) -> tuple[Floats, Floats]:
    """Windows of the test part and what came after each; `kept` holds what was loaded for earlier runs."""
    source = config.data
    if isinstance(source, RecordsData):  # only the training part has copies, and takes long to make them
        source = msgspec.structs.replace(source, copies=0, noise=())
    plain = msgspec.structs.replace(config, data=source)
    key = msgspec.json.encode((source, config.conditioning, config.model.rate_hz, config.seed))
    if key not in kept:
        kept[key] = load_data(plain, folder)
    if kept[key].digest != outcome.data.digest:
        raise ConfigError("the data are not what they were when it was trained")
    horizon = config.model.horizon
    hop = config.model.hop * config.model.samples_per_step
    cut = [cut_windows(series, plain, hop, horizon)[0] for series in kept[key].parts["test"]]
    values = np.concatenate(cut)  # (window, time + horizon, channel)
    values = values[:: -(-len(values) // _MOST_WINDOWS)]
    return np.ascontiguousarray(values[:, :-horizon]), values[:, -horizon:]
