"""What typed commands do."""

# ruff: noqa: D102 - what each does is told once, in commands.COMMANDS

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from monitor.control import Record, Silence, TestAlarm
from monitor.core.blocks import NS, Alarm, Priority
from monitor.dashboard import timemachine
from monitor.dashboard.commands import CommandError, clock_ns, seconds_of
from monitor.dashboard.export import free_path, piece_of, stem_of, write_csv, write_wfdb
from monitor.dashboard.listing import Order
from monitor.dashboard.raster import GLYPHS
from monitor.dashboard.scale import TIME_BASES_S, default_time_base
from monitor.dashboard.themes import palette_named
from monitor.dashboard.widgets.alarms import AlarmTable
from monitor.dashboard.widgets.canvas import Canvas
from monitor.dashboard.widgets.lines import Lines

if TYPE_CHECKING:
    from monitor.dashboard.actions import Actions

PRIORITIES: dict[str, Priority] = {"high": "high", "medium": "medium", "low": "low"}


@runtime_checkable
class Writes(Protocol):
    """Something that tells at the end which files were written."""

    written: list[Path]


class Typed:
    """`do_NAME` for each name in `commands.COMMANDS`; each takes what was typed after it."""

    def __init__(self, screen: Actions) -> None:
        self._screen = screen

    def do_ack(self, rest: str) -> None:
        if rest == "all":
            self._screen.tell(self._screen.link.acknowledge(""), "Not acknowledged")
        else:
            self._screen.action_acknowledge()

    def do_silence(self, rest: str) -> None:
        if rest:
            self._screen.tell(self._screen.link.say(Silence(min(seconds_of(rest), 3600.0)), float), "Not silenced")
        else:
            self._screen.action_silence()

    def do_test(self, rest: str) -> None:
        priority = PRIORITIES.get(rest or "high")
        if priority is None:
            raise CommandError(f"test: expected high, medium or low, got {rest[:30]!r}")
        self._screen.tell(self._screen.link.say(TestAlarm(priority), Alarm), "Not tested")

    def do_true(self, rest: str) -> None:
        self._screen.action_mark("true", rest)

    def do_false(self, rest: str) -> None:
        self._screen.action_mark("false", rest)

    def do_note(self, rest: str) -> None:
        if not rest:
            raise CommandError("note: expected a text")
        self._screen.annotate(rest)

    def do_why(self, _: str) -> None:
        self._screen.action_why()

    def do_alarms(self, rest: str) -> None:
        self._screen.choices.set_alarm_filter(rest)
        self._screen.add_class("-review")
        self._screen.query_one(AlarmTable).focus()

    def do_stream(self, rest: str) -> None:
        names = self._screen.board.names
        found = rest if rest in names else next((name for name in names if rest.lower() in name.lower()), None)
        if found is None:
            raise CommandError(f"stream: none is called {rest[:60]!r}")
        self._screen.choices.select(found)

    def do_filter(self, rest: str) -> None:
        self._screen.choices.set_filter(rest)

    def do_sort(self, rest: str) -> None:
        order = next((order for order in Order if rest and order.value.startswith(rest.lower())), None)
        if order is None:
            raise CommandError(f"sort: expected one of {', '.join(o.value for o in Order)}")
        self._screen.choices.order = order
        self._screen.choices.version += 1

    def do_pin(self, _: str) -> None:
        self._screen.choices.pin()

    def do_overview(self, _: str) -> None:
        self._screen.choices.toggle("overview")

    def do_time(self, rest: str) -> None:
        choices, view = self._screen.choices, self._screen.board.streams.get(self._screen.choices.selected)
        seconds = seconds_of(rest)
        nearest = min(range(len(TIME_BASES_S)), key=lambda i: abs(TIME_BASES_S[i] - seconds))
        choices.time_steps = 0
        choices.step_time(nearest - default_time_base(view.rate_hz if view is not None else 0.0))

    def do_gain(self, rest: str) -> None:
        choices = self._screen.choices
        choices.auto_gain()
        if rest != "auto":
            choices.step_gain(round(seconds_of(rest)))

    def do_goto(self, rest: str) -> None:
        screen, view = self._screen, self._screen.board.streams.get(self._screen.choices.selected)
        if view is None:
            raise CommandError("goto: there is no stream yet")
        if ":" in rest:
            t_ns = clock_ns(rest, view.newest_ns)
        else:
            t_ns = view.newest_ns - round(abs(seconds_of(rest)) * NS)
        timemachine.go_to(screen.board, screen.choices, t_ns, screen.clock())

    def do_live(self, _: str) -> None:
        self._screen.choices.live()

    def do_freeze(self, _: str) -> None:
        self._screen.action_freeze()

    def do_theme(self, rest: str) -> None:
        palette = palette_named(rest)
        if palette is None:
            raise CommandError("theme: expected dark, light, ecg, colour, 16 or no")
        self._screen.choices.palette = palette
        self._screen.choices.version += 1

    def do_glyphs(self, rest: str) -> None:
        glyphs = next((g for g in GLYPHS if rest and g.name.startswith(rest.lower())), None)
        if glyphs is None:
            raise CommandError(f"glyphs: expected one of {', '.join(g.name for g in GLYPHS)}")
        self._screen.choices.glyphs = glyphs
        self._screen.choices.version += 1

    def do_record(self, rest: str) -> None:
        streams = () if rest == "off" else tuple(rest.split()) or ("*",)
        self._screen.tell(self._screen.link.say(Record(streams), list[str]), "Not recorded")

    def do_export(self, rest: str) -> None:
        form, _, where = rest.partition(" ")
        if form not in ("csv", "wfdb"):
            raise CommandError("export: expected csv or wfdb, and perhaps a path")
        screen = self._screen
        board, choices = screen.board, screen.choices
        name, frozen = choices.selected, choices.frozen
        view = frozen.views.get(name) if frozen is not None else board.streams.get(name)
        if view is None:
            raise CommandError("export: there is no stream to export")
        to_ns = frozen.head_ns(name) if frozen is not None else view.newest_ns
        from_ns = to_ns - round(timemachine.window_s(board, choices) * NS)
        verdicts = [note for note in board.notes.values() if note.stream == name and note.alarm]
        piece = piece_of(view, from_ns, to_ns, board.notes_of(name), verdicts)
        folder, stem = (Path(where).parent, Path(where).stem) if where else (Path.cwd(), stem_of(piece))
        if form == "csv":
            path = free_path(folder, stem, ".csv")
            write_csv(piece, path)
        else:
            path = free_path(folder, stem, ".hea")
            write_wfdb(piece, folder, path.stem)
        self._written(path)

    def do_screenshot(self, rest: str) -> None:
        path = Path(rest) if rest else free_path(Path.cwd(), "foretrace", ".svg")
        try:
            path.write_text(self._screen.app.export_screenshot(title="foretrace"), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{path}: cannot be written: {error}") from error
        self._written(path)

    def _written(self, path: Path) -> None:
        app = self._screen.app
        if isinstance(app, Writes):
            app.written.append(path.resolve())
        self._screen.notify(str(path.resolve()), title="Written", timeout=8)

    def do_copy(self, _: str) -> None:
        screen = self._screen
        shown = [w for w in screen.query("Header, Banner, Waveforms, Overview, AlarmTable, StreamList") if w.size]
        text = "\n".join(w.text for w in shown if isinstance(w, Canvas | Lines) and w.display)
        screen.app.copy_to_clipboard(text)
        path = free_path(Path.cwd(), "foretrace", ".txt")
        try:
            path.write_text(text, encoding="utf-8")  # some terminals take no copy
        except OSError as error:
            raise CommandError(f"copied; {path} cannot be written: {error}") from error
        self._written(path)

    def do_help(self, _: str) -> None:
        self._screen.action_help()

    def do_quit(self, _: str) -> None:
        self._screen.app.exit()
