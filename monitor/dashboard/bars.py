"""The single lines: header, banner of the most urgent alarm, keys; as text with inks."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import NamedTuple

from monitor.core.blocks import NS, Alarm, Kind, State
from monitor.dashboard.choices import Choices, ForecastMode
from monitor.dashboard.palette import Ink, Line, Part
from monitor.dashboard.scale import number_text, seconds_text, time_base_s
from monitor.dashboard.state import Board
from monitor.dashboard.stream import PRIORITIES, RANK, StreamView

SIGNS = {"high": "▲▲▲", "medium": "▲▲", "low": "▲"}
ASCII_SIGNS = {"high": "!!!", "medium": "!!", "low": "!"}
INKS = {"high": Ink.HIGH, "medium": Ink.MEDIUM, "low": Ink.LOW}
BANNERS = {"high": Ink.BANNER_HIGH, "medium": Ink.BANNER_MEDIUM, "low": Ink.BANNER_LOW}
DISCLAIMER = "research and teaching, not a medical device"


class Meter(NamedTuple):
    """How the dashboard itself is doing."""

    frames_s: float = 0.0
    draw_ms: float = 0.0


class KeyHint(NamedTuple):
    """A key and what it does."""

    key: str
    text: str
    action: str


def sign_of(alarm: Alarm, choices: Choices) -> str:
    """The priority of an alarm as a sign, which needs no colour; technical ones have their own."""
    blocks = choices.glyphs.has_blocks
    if alarm.kind is Kind.SIGNAL:
        return "◆" if blocks else "#"
    return (SIGNS if blocks else ASCII_SIGNS)[alarm.priority]


def sign_of_stream(board: Board, view: StreamView, choices: Choices) -> str:
    """The sign of the most urgent of its live alarms; nothing where there is none."""
    rank, fault = board.rank(view.name), view.fault
    if fault is not None and RANK[fault.priority] >= rank:
        return sign_of(fault, choices)
    return (SIGNS if choices.glyphs.has_blocks else ASCII_SIGNS)[PRIORITIES[rank - 1]] if rank else ""


def ink_of(alarm: Alarm) -> Ink:
    """The priority of an alarm as a colour."""
    return Ink.TECHNICAL if alarm.kind is Kind.SIGNAL else INKS[alarm.priority]


def clock_text(t_ns: int, *, date: bool = False) -> str:
    """A data time, in UTC."""
    moment = datetime.fromtimestamp(t_ns // NS, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}" if date else f"{moment:%H:%M:%S}.{t_ns % NS // 1_000_000:03d}"


def ago_text(board: Board, alarm: Alarm, now_s: float) -> str:
    """How long ago the alarm was raised, in its stream's own time, which stands still while nothing comes."""
    view = board.streams.get(alarm.stream)
    if view is None:
        return "now"
    seconds = (view.newest_ns - alarm.raised_ns) / NS + (board.stale_s(view.name, now_s) or 0.0)
    if seconds < 0:
        return "now"
    if seconds >= 10:
        seconds -= seconds % (60 if seconds >= 120 else 1)
    return f"{seconds_text(round(seconds, 1))} ago"


def score_text(alarm: Alarm) -> str:
    """Its score and its limit; a fault that is or is not there has none."""
    if alarm.kind is Kind.SIGNAL and not alarm.model:
        return ""
    return f"score {alarm.score:.2f}, limit {number_text(alarm.threshold, 2)}  "


def countdown(seconds: float) -> str:
    """What is left of a silence."""
    whole = math.ceil(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def title_of(alarm: Alarm) -> str:
    """What an alarm is about, in a word or two."""
    if alarm.kind is Kind.DEVIATION:
        return "off the forecast" if alarm.label == "forecast" else f"{alarm.label} off"
    if alarm.kind is Kind.LIMIT_AHEAD:
        return f"{alarm.label} limit ahead"
    return f"{alarm.label} limit" if alarm.kind is Kind.LIMIT else alarm.label


def header(board: Board, choices: Choices, meter: Meter, now_s: float, address: str) -> Line:
    """Whether what is seen is live, of which stream, how it is shown, how fast."""
    view = board.streams.get(choices.selected)
    parts = [_condition(board, choices, now_s, address)]
    if board.status is not None and board.status.recorded:
        parts.append(Part(" ● REC", Ink.HIGH, Ink.BAR, bold=True))
    if view is not None:
        parts.append(Part(f"  {view.name}", Ink.TEXT, Ink.BAR, bold=True))
        if view.rate_hz:
            parts.append(_dim(f"  {number_text(view.rate_hz)} Hz"))
        if view.newest_ns:
            parts.append(_dim(f"  {clock_text(view.newest_ns, date=True)}"))
    mode = "sweep" if choices.sweeps else "scroll"
    window_s = time_base_s(view.rate_hz if view else 0.0, choices.time_steps)
    parts.append(_dim(f"  {mode} {seconds_text(window_s)}"))
    if choices.forecast is ForecastMode.WITH_PAST:
        parts.append(_dim(" · past forecasts"))
    if board.status is not None and math.isfinite(board.status.latency_p50_ms):
        parts += [_dim(" · lag "), _plain(f"{board.status.latency_p50_ms:.0f} ms")]
    if view is not None and view.state is not None:
        parts += [_dim(" · missing "), _plain(str(view.state.ledger.missing))]
    parts.append(_dim(f" · {meter.frames_s:.0f} fps · draw {meter.draw_ms:.1f} ms"))
    if view is not None and view.state is not None and view.state.models:
        parts += [_dim(" · models "), _plain(", ".join(view.state.models))]
    return tuple(parts)


def _dim(text: str) -> Part:
    return Part(text, Ink.DIM, Ink.BAR)


def _plain(text: str) -> Part:
    return Part(text, Ink.TEXT, Ink.BAR)


def _condition(board: Board, choices: Choices, now_s: float, address: str) -> Part:
    blocks = choices.glyphs.has_blocks
    if not board.is_connected(now_s):
        silence = board.silence_s(now_s)
        since = f" {seconds_text(int(silence))}" if silence is not None else f" nothing heard from {address}"
        return Part(f" {'✖' if blocks else 'x'} DISCONNECTED{since} ", Ink.INVERSE, Ink.BANNER_HIGH, bold=True)
    if choices.frozen is not None:
        back_s = choices.frozen.back_s
        text = f"BACK {seconds_text(float(round(back_s, 1 if back_s < 10 else 0)))}" if back_s else "FROZEN"
        return Part(f" {'❚❚' if blocks else '||'} {text} ", Ink.INVERSE, Ink.BANNER_MEDIUM, bold=True)
    view = board.streams.get(choices.selected)
    stale_s = board.stale_s(view.name, now_s) if view is not None else None
    if stale_s is not None:
        return Part(
            f" {'◌' if blocks else '?'} NO DATA {seconds_text(int(stale_s))}", Ink.MEDIUM, Ink.BAR, bold=True
        )
    word = "RECORDING" if board.length_s else "LIVE"
    return Part(f" {'●' if blocks else '*'} {word}", Ink.GOOD, Ink.BAR, bold=True)


def banner(board: Board, choices: Choices, now_s: float, address: str) -> Line:
    """The most urgent alarm that calls, or what else must be known at once; flashes while priority is high."""
    if not board.is_connected(now_s):
        heard = board.silence_s(now_s) is not None
        text = "the picture below is old." if heard else "is `monitor run` running?"
        said_goodbye = board.status is not None and board.status.state == "offline"
        what = "The daemon has stopped" if said_goodbye else f"No word from {address}"
        return (Part(f" {what}: {text} Trying again.", Ink.HIGH, Ink.PANEL, bold=True),)
    calling, silenced = board.calling, board.silenced
    left_s = board.silence_left_s(now_s)
    silent = f"   {len(silenced)} silenced, calls again in {countdown(left_s)}" if silenced and left_s else ""
    if not calling and silent:
        alarm = silenced[0]
        return (
            Part(
                f" {sign_of(alarm, choices)} {title_of(alarm)}  {alarm.stream}",
                ink_of(alarm),
                Ink.PANEL,
                bold=True,
            ),
            Part(f"{silent}   [m] end   [a] acknowledge", Ink.TEXT, Ink.PANEL),
        )
    if not calling:
        frozen = "  The picture stands, data goes on: end or space goes back to live." if choices.frozen else ""
        streams = len(board.streams)
        quiet = f" No alarm calls.  {streams} stream{'s' if streams != 1 else ''}.{frozen}"
        return (Part(quiet, Ink.DIM, Ink.PANEL), Part(f"  {DISCLAIMER}", Ink.FAINT, Ink.PANEL))
    alarm = calling[0]
    ground, ink = BANNERS[alarm.priority], Ink.INVERSE
    if alarm.priority == "high" and int(now_s * 2) % 2:
        ground, ink = Ink.BAND_HIGH, Ink.HIGH
    more = f"   +{len(calling) - 1} more" if len(calling) > 1 else ""
    return (
        Part(f" {sign_of(alarm, choices)} {title_of(alarm)}  {alarm.stream}", ink, ground, bold=True),
        Part(f"  {score_text(alarm)}{ago_text(board, alarm, now_s)}", ink, ground),
        Part(f"{'   latched until acknowledged' if alarm.state is State.LATCHED else ''}{more}", ink, ground),
        Part(f"{silent}   [a] acknowledge   [m] silence   [w] why", ink, ground, bold=True),
    )


def keys(hints: list[KeyHint], width: int) -> list[KeyHint]:
    """As many hints as fit into a line; the last two, how to leave and where to read more, come before others."""
    room = width - 1
    lengths = [len(hint.key) + len(hint.text) + 3 for hint in hints]
    used = sum(lengths[-2:])
    kept = 0
    while kept < len(hints) - 2 and used + lengths[kept] <= room:
        used += lengths[kept]
        kept += 1
    return [*hints[:kept], *hints[-2:]] if used <= room else hints[-1:]


def footer(hints: list[KeyHint]) -> Line:
    """Keys and what they do."""
    parts = [Part(" ", Ink.DIM, Ink.BAR)]
    for hint in hints:
        parts += [
            Part(hint.key, Ink.FORECAST, Ink.BAR, bold=True),
            Part(f" {hint.text}  ", Ink.DIM, Ink.BAR),
        ]
    return tuple(parts)
