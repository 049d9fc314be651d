"""What keys and the mouse do in the running app, beyond what test_app covers."""

from __future__ import annotations

import msgspec
import pytest

from monitor.control import Annotate, GetWhy, Mark, Record, Silence, TestAlarm, Why
from monitor.core.blocks import Note
from monitor.dashboard.explain import WhyScreen
from monitor.dashboard.listing import Order
from monitor.dashboard.themes import PALETTES, theme_name
from monitor.dashboard.widgets.alarms import AlarmTable
from monitor.dashboard.widgets.bars import Banner, Header
from monitor.dashboard.widgets.overview import Overview
from monitor.dashboard.widgets.prompt import Prompt
from monitor.dashboard.widgets.streams import StreamList
from monitor.dashboard.widgets.strip import PastStrip
from monitor.dashboard.widgets.waveform import Waveforms
from tests.dashboard.conftest import until
from tests.dashboard.making import alarm, at, status
from tests.dashboard.watching import watching


async def test_looking_back_with_keys_and_back_to_live():
    async with watching() as watcher:
        await watcher.press("left_square_bracket")
        assert "FROZEN" in watcher.see(Header)
        assert watcher.app.choices.frozen.cursor_ns("ecg/1") == at(8.0)
        await watcher.press("left", "shift+left", "pageup")
        assert "BACK" in watcher.see(Header)
        await watcher.press("end")
        assert "LIVE" in watcher.see(Header)
        await watcher.press("right_square_bracket")
        assert any("Nothing was flagged after" in n.message for n in watcher.app._notifications)


async def test_the_strip_and_the_wheel_lead_into_the_past():
    async with watching() as watcher:
        strip = watcher.screen.query_one(PastStrip)
        await watcher.pilot.click(PastStrip, offset=(strip.size.width - 1, 0))
        await watcher.draw()
        assert watcher.app.choices.frozen is not None
        before = watcher.app.choices.frozen.cursor_s
        await watcher.pilot.click(Waveforms, offset=(20, 3))
        await watcher.draw()
        assert watcher.app.choices.frozen.cursor_s != before
        watcher.screen.on_waveforms_turned(Waveforms.Turned(-1, zooms=False))
        watcher.screen.on_waveforms_turned(Waveforms.Turned(1, zooms=True))
        assert watcher.app.choices.frozen.back_s > 0
        assert watcher.app.choices.time_steps == -1


async def test_silence_counts_down_and_can_be_ended():
    async with watching() as watcher:
        await watcher.press("m")
        await until(lambda: watcher.link.said == [Silence(120.0)], "the command")
        silenced = status()
        silenced = type(silenced)(**{f: getattr(silenced, f) for f in silenced.__struct_fields__} | {
            "silence_left_s": 103.0, "silenced": ("high", "medium")})  # fmt: skip
        watcher.board.fold(silenced, 0.0)
        await watcher.draw()
        assert "2 silenced, calls again in 1:43" in watcher.see(Banner)
        assert "silenced" in watcher.see(AlarmTable)
        watcher.board.fold(alarm("new", 9.0, stream="zulu", priority="high"), 0.0)
        await watcher.draw()
        assert "▲▲▲ V  zulu" in watcher.see(Banner)
        watcher.board.fold(alarm("new", 9.0, stream="zulu", priority="high", acknowledged=True), 0.0)
        await watcher.press("m")
        await until(lambda: watcher.link.said[-1] == Silence(0.0), "the end of it")


async def test_verdicts_and_notes_go_to_the_daemon_and_are_seen():
    async with watching() as watcher:
        await watcher.press("A", "down", "y")
        await until(lambda: watcher.link.said, "the verdict")
        assert isinstance(watcher.link.said[0], Mark)
        assert (watcher.link.said[0].alarm, watcher.link.said[0].verdict) == ("high", "true")
        watcher.board.fold(Note("high-verdict", "ecg/1", at(4.0), 1, alarm="high", verdict="true"), 0.0)
        await watcher.draw()
        assert "true" in watcher.see(AlarmTable)
        await watcher.press("y")
        await until(lambda: len(watcher.link.said) == 2, "taking it back")
        assert watcher.link.said[1].verdict == ""
        await watcher.press("A", "n", *"hi", "enter")
        await until(lambda: len(watcher.link.said) == 3, "the note")
        assert isinstance(watcher.link.said[2], Annotate)
        assert (watcher.link.said[2].stream, watcher.link.said[2].text) == ("ecg/1", "hi")


async def test_why_opens_and_closes():
    async with watching() as watcher:
        await watcher.press("w")
        assert isinstance(watcher.app.screen, WhyScreen)
        assert "0.900 against a threshold of 0.500" in watcher.app.screen.query_one("#why-lines").text
        await watcher.press("escape")
        assert not isinstance(watcher.app.screen, WhyScreen)


async def test_why_shows_what_was_kept_when_the_signal_has_gone():
    """An alarm of a stream that nobody looks at, long ago: its window and forecast come from the daemon."""
    from tests.test_why import evidence, foreseen

    async with watching() as watcher:
        old = alarm("old", 3.0, stream="gone", priority="high", model="m@2")
        watcher.board.fold(old, 0.0)
        watcher.link.answers[GetWhy("old")] = Why(old, evidence("old", foreseen=foreseen(2.0)), [], [])
        watcher.app.screen.choices.alarm_id = "old"
        await watcher.press("w")
        lines, picture = (watcher.app.screen.query_one(name) for name in ("#why-lines", "#why-picture"))
        await until(lambda: "f@1 was off by 2.00 mV at most" in lines.text, "what the daemon has kept")
        assert "what came, and the interval that f@1 had forecast" in picture.text


async def test_recording_is_switched_on_and_off():
    async with watching() as watcher:
        await watcher.press("R")
        await until(lambda: watcher.link.said[-1:] == [Record(("*",))], "on")
        recorded = msgspec.structs.replace(watcher.board.status, recorded=("*",))
        watcher.board.fold(recorded, 0.0)
        await watcher.draw()
        assert "● REC" in watcher.see(Header)
        await watcher.press("R")
        await until(lambda: watcher.link.said[-1:] == [Record(())], "off")


async def test_filters_work_while_typing():
    async with watching() as watcher:
        await watcher.press("slash", *"ecg")
        assert "zulu" not in watcher.see(StreamList)
        await watcher.press("enter")
        assert "ecg/2" in watcher.see(StreamList)
        assert not watcher.screen.query_one(Prompt).display
        await watcher.press("slash", "escape")
        assert "zulu" in watcher.see(StreamList)
        await watcher.press("A", "slash", *"high", "enter")
        assert "ecg/2" not in watcher.see(AlarmTable)
        await watcher.press("escape")
        assert "ecg/2" in watcher.see(AlarmTable)


async def test_commands_are_typed():
    async with watching() as watcher:

        async def type_(text: str) -> None:
            keys = {" ": "space", ".": "full_stop", ":": "colon", "/": "slash", "-": "minus"}
            await watcher.press("colon", *(keys.get(c, c) for c in text), "enter")

        await type_("theme paper")
        assert any("expected dark" in n.message for n in watcher.app._notifications)
        await type_("theme ecg")
        assert watcher.app.choices.palette.name == "ECG paper"
        assert watcher.app.theme == "foretrace-ecg-paper"
        await type_("sort trouble")
        assert watcher.app.choices.order is Order.TROUBLE
        await type_("stream zul")
        assert watcher.app.choices.selected == "zulu"
        await type_("time 20")
        assert "scroll 20 s" in watcher.see(Header)
        await type_("goto 13:46:45")
        assert watcher.app.choices.frozen is not None
        await type_("glyphs ascii")
        assert watcher.app.choices.glyphs.name == "ascii"
        await type_("test low")
        await until(lambda: TestAlarm("low") in watcher.link.said, "the test")
        await type_("nonsense")
        assert any("no command" in n.message for n in watcher.app._notifications)


async def test_themes_go_round():
    async with watching() as watcher:
        for palette in [*PALETTES[1:], PALETTES[0]]:
            await watcher.press("t")
            assert watcher.app.choices.palette is palette
            assert watcher.app.theme == theme_name(palette)


async def test_the_overview_shows_all_and_leads_to_one():
    async with watching() as watcher:
        await watcher.press("o")
        assert (
            not watcher.screen.query_one(Waveforms).display or watcher.screen.query_one("#main").display is False
        )
        await watcher.draw()
        assert "zulu" in watcher.see(Overview)
        assert set(watcher.link.glanced) == set(watcher.board.names)
        await watcher.press("right", "right", "enter")
        assert watcher.app.choices.selected == "sine/1"
        assert not watcher.app.choices.overview
        assert watcher.link.glanced == []
        await watcher.press("o")
        await watcher.pilot.click(Overview, offset=(3, 1))
        assert watcher.app.choices.selected == "ecg/1"


async def test_files_are_written_and_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with watching() as watcher:
        await watcher.press("e", "P", "c")
        found = {path.suffix for path in tmp_path.iterdir()}
        assert found == {".csv", ".svg", ".txt"}
        assert {path.name for path in watcher.app.written} == {path.name for path in tmp_path.iterdir()}
        assert "ecg/1" in next(tmp_path.glob("*.txt")).read_text()


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (200, 60)])
async def test_every_view_at_every_size(size):
    async with watching(size=size) as watcher:
        for keys in (("o",), ("A",), ("A", "o"), ("w", "escape"), ("slash", "escape"), ("left_square_bracket",)):
            await watcher.press(*keys)
            assert watcher.app.is_running


async def test_the_command_palette_offers_the_commands():
    async with watching() as watcher:
        await watcher.pilot.press("ctrl+p", *"overview")
        await until(lambda: watcher.app.screen.query("CommandList") and
                    watcher.app.screen.query_one("CommandList").option_count, "what is found")  # fmt: skip
        await watcher.pilot.press("enter")
        await until(lambda: watcher.app.choices.overview, "the overview")
