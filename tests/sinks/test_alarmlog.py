from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from monitor.core.blocks import Alarm, Event, Kind, State
from monitor.core.errors import ConfigError
from monitor.sinks.alarmlog import AlarmLog


def alarm(id_="a", state=State.ACTIVE, raised_ns=10, **changes):
    given = Alarm(id_, "ecg/1", Kind.CLASS, "V", "high", state, raised_ns, raised_ns, 0.9, 0.5, "m@1")
    return msgspec.structs.replace(given, **changes)


EVENT = Event("ecg/1", Kind.CLASS, "V", 10, 5, 15, 0.9, 0.5, "m@1", "why")


def test_what_was_written_is_there_when_opened_again(tmp_path):
    path = tmp_path / "log.db"
    with AlarmLog(path) as log:
        log.write([alarm(), EVENT])
        log.write([alarm(state=State.CLEARED, acknowledged=True), alarm("b", raised_ns=20)])
    with AlarmLog(path) as log:
        assert log.alarms() == [alarm("b", raised_ns=20), alarm(state=State.CLEARED, acknowledged=True)]
        assert log.alarms(active=True) == [alarm("b", raised_ns=20)]
        assert log.alarms(stream="other") == []
        assert log.alarms(limit=1)[0].id == "b"
        assert log.events() == [EVENT]


def test_a_write_is_all_or_nothing(tmp_path):
    with AlarmLog(tmp_path / "log.db") as log:
        bad = msgspec.structs.replace(EVENT, stream=None)
        with pytest.raises(sqlite3.IntegrityError):
            log.write([alarm(), bad])
        assert log.alarms() == []
        log.write([alarm()])
        assert len(log.alarms()) == 1


def test_an_event_that_is_told_again_is_the_same_event(tmp_path):
    with AlarmLog(tmp_path / "log.db") as log:
        log.write([EVENT])
        log.write([EVENT, msgspec.structs.replace(EVENT, label="S")])
        assert [event.label for event in log.events()] == ["V", "S"]


def test_what_was_written_survives_kill_9(tmp_path):
    path = tmp_path / "log.db"
    script = f"""
import sys, pathlib
sys.path.insert(0, {str(Path.cwd())!r})
from tests.sinks.test_alarmlog import alarm
from monitor.sinks.alarmlog import AlarmLog
log = AlarmLog(pathlib.Path({str(path)!r}))
for i in range(100000):
    log.write([alarm(str(i), raised_ns=i)])
    print(i, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    told = [process.stdout.readline() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    last = int(told[-1] if told[-1].endswith("\n") else told[-2])
    with AlarmLog(path) as log:
        kept = {alarm.id for alarm in log.alarms(limit=-1)}
    assert {str(i) for i in range(last + 1)} <= kept
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_a_file_that_cannot_be_used_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="folder that exists"):
        AlarmLog(tmp_path / "none" / "log.db")
    (tmp_path / "text.db").write_text("not a database, not at all" * 100)
    with pytest.raises(ConfigError, match="cannot be opened"):
        AlarmLog(tmp_path / "text.db")
    db = sqlite3.connect(tmp_path / "new.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(ConfigError, match="schema 99"):
        AlarmLog(tmp_path / "new.db")
