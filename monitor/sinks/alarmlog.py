"""The alarm log: SQLite in WAL mode, so that what was raised or acknowledged survives anything.

The same file holds what else must survive (monitor.keeper): one transaction then holds what messages caused, and
that they were received.

`write` commits before it returns (synchronous=FULL): an alarm is durable before it is published. It blocks for
a few milliseconds, so the daemon calls it from a worker thread; the connection may be used from any thread, by
one at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from monitor.core.blocks import Alarm, Event, Note, State
from monitor.core.errors import ConfigError, StorageLost
from monitor.core.evidence import Evidence

T = TypeVar("T")

SCHEMA_VERSION = 1

_ALARM_FIELDS = Alarm.__struct_fields__
_EVENT_FIELDS = Event.__struct_fields__
_NOTE_FIELDS = Note.__struct_fields__
_TEXT = {
    "id", "stream", "kind", "label", "priority", "state", "model", "detail", "text", "alarm", "verdict", "author",
}  # fmt: skip
_REAL = {"score", "threshold"}


def _columns(fields: Sequence[str]) -> str:
    kinds = ("TEXT" if f in _TEXT else "REAL" if f in _REAL else "INTEGER" for f in fields)
    return ", ".join(f"{field} {kind} NOT NULL" for field, kind in zip(fields, kinds, strict=True))


_TABLES = (
    f"alarm ({_columns(_ALARM_FIELDS)}, PRIMARY KEY (id))",
    f"event ({_columns(_EVENT_FIELDS)})",
    f"note ({_columns(_NOTE_FIELDS)}, PRIMARY KEY (id))",
    "evidence (alarm TEXT PRIMARY KEY, content BLOB NOT NULL)",
    "stream (name TEXT PRIMARY KEY, state BLOB NOT NULL)",
    "recent (stream TEXT NOT NULL, end_ns INTEGER NOT NULL, block BLOB NOT NULL)",
    "journal (id INTEGER PRIMARY KEY, entries BLOB NOT NULL)",
    "place (of TEXT PRIMARY KEY, seq INTEGER NOT NULL)",
    "watermark (written_s REAL NOT NULL, event INTEGER NOT NULL, alarm INTEGER NOT NULL)",
)
_MOST_WAL_BYTES = 16 * 1024 * 1024


class Write(NamedTuple):
    """A statement and its rows."""

    sql: str
    rows: Iterator[tuple[object, ...]]
    ahead: bool = False
    """Whether some of the rows may be there before the others and before what follows."""


class AlarmLog:
    """Alarms and events of one daemon."""

    def __init__(self, path: Path) -> None:
        """Open or create; raises ConfigError when the file cannot be used."""
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise ConfigError(f"alarm log {path}: schema {version}, this monitor writes {SCHEMA_VERSION}")
            self._db.execute(f"PRAGMA journal_size_limit={_MOST_WAL_BYTES}")
            for table in _TABLES:
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            self._db.execute("CREATE UNIQUE INDEX IF NOT EXISTS one_event ON event (stream, t_ns, kind, label)")
            self._db.execute("CREATE INDEX IF NOT EXISTS alarm_by_time ON alarm (raised_ns)")
            self._db.execute("CREATE INDEX IF NOT EXISTS recent_by_time ON recent (stream, end_ns)")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except sqlite3.Error as error:
            raise ConfigError(
                f"alarm log {path}: cannot be opened: {error}; expected a SQLite file, or a new one in a folder "
                "that exists and may be written to",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, notices: Iterable[Alarm | Event | Note | Evidence], more: Iterable[Write] = ()) -> None:
        """Store events, notes, the newest state of alarms, the first evidence of each, and `more`.

        All or none, durably; raises StorageLost.
        """
        alarms: list[tuple[object, ...]] = []
        events: list[tuple[object, ...]] = []
        notes: list[tuple[object, ...]] = []
        evidence: list[Evidence] = []
        for notice in notices:
            if isinstance(notice, Evidence):
                evidence.append(notice)
                continue
            table = alarms if isinstance(notice, Alarm) else events if isinstance(notice, Event) else notes
            table.append(msgspec.structs.astuple(notice))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_upsert("alarm", _ALARM_FIELDS), alarms)
            self._db.executemany(_upsert("event", _EVENT_FIELDS), events)
            self._db.executemany(_upsert("note", _NOTE_FIELDS), notes)
            # One by one: where thousands of streams fall silent at once, that of all is many megabytes.
            contents = ((one.alarm, msgspec.msgpack.encode(one)) for one in evidence)
            self._db.executemany("INSERT OR IGNORE INTO evidence (alarm, content) VALUES (?, ?)", contents)
            for sql, rows, _ in more:
                self._db.executemany(sql, rows)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:  # full, read-only, gone: not a mistake of ours
            self._roll_back()
            raise StorageLost(f"the alarm log cannot be written: {error}") from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # SQLite has rolled back by itself after some errors
            self._db.execute("ROLLBACK")

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        return list(self._db.execute(sql))

    def alarms(self, *, active: bool = False, stream: str = "", limit: int = 100) -> list[Alarm]:
        """Alarms, newest first."""
        where = "state != 'cleared'" if active else "1"
        rows = self._db.execute(
            f"SELECT {', '.join(_ALARM_FIELDS)} FROM alarm WHERE {where} AND (? = '' OR stream = ?) "  # noqa: S608
            "ORDER BY raised_ns DESC, id LIMIT ?",
            (stream, stream, limit),
        )
        return [_read(row, _ALARM_FIELDS, Alarm) for row in rows]

    def events(self, *, stream: str = "", limit: int = 100) -> list[Event]:
        """Events, newest first."""
        rows = self._db.execute(
            f"SELECT {', '.join(_EVENT_FIELDS)} FROM event WHERE ? = '' OR stream = ? "  # noqa: S608
            "ORDER BY t_ns DESC LIMIT ?",
            (stream, stream, limit),
        )
        return [_read(row, _EVENT_FIELDS, Event) for row in rows]

    def notes(self, *, stream: str = "", limit: int = 1000) -> list[Note]:
        """What was said and not taken back, newest first."""
        rows = self._db.execute(
            f"SELECT {', '.join(_NOTE_FIELDS)} FROM note WHERE (? = '' OR stream = ?) "  # noqa: S608
            "AND (text != '' OR verdict != '') ORDER BY t_ns DESC, id LIMIT ?",
            (stream, stream, limit),
        )
        return [_read(row, _NOTE_FIELDS, Note) for row in rows]

    def alarm(self, alarm_id: str) -> Alarm | None:
        """The alarm of that id."""
        query = f"SELECT {', '.join(_ALARM_FIELDS)} FROM alarm WHERE id = ?"  # noqa: S608
        row = self._db.execute(query, (alarm_id,)).fetchone()
        return None if row is None else _read(row, _ALARM_FIELDS, Alarm)

    def evidence(self, alarm_id: str) -> Evidence | None:
        """Why the alarm of that id was raised; None where that is not known, or no longer."""
        row = self._db.execute("SELECT content FROM evidence WHERE alarm = ?", (alarm_id,)).fetchone()
        return None if row is None else msgspec.msgpack.decode(row[0], type=Evidence)

    def events_of(self, alarm: Alarm, limit: int = 1000) -> list[Event]:
        """What was flagged while the alarm lasted, oldest first."""
        until_ns = alarm.changed_ns if alarm.state is State.CLEARED else 2**62
        rows = self._db.execute(
            f"SELECT {', '.join(_EVENT_FIELDS)} FROM event WHERE stream = ? AND kind = ? AND label = ? "  # noqa: S608
            "AND end_ns >= ? AND start_ns <= ? ORDER BY t_ns LIMIT ?",
            (alarm.stream, alarm.kind, alarm.label, alarm.raised_ns, until_ns, limit),
        )
        return [_read(row, _EVENT_FIELDS, Event) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _upsert(table: str, fields: Sequence[str]) -> str:
    marks = ", ".join("?" for _ in fields)
    return f"INSERT OR REPLACE INTO {table} ({', '.join(fields)}) VALUES ({marks})"  # noqa: S608 our own names


def _read(row: Sequence[object], fields: Sequence[str], kind: type[T]) -> T:
    return msgspec.convert(dict(zip(fields, row, strict=True)), kind, strict=False)
