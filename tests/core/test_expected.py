from __future__ import annotations

import msgspec
import pytest

from monitor.core.blocks import Alarm, Event, Kind, State
from monitor.core.errors import RecordingError
from monitor.core.expected import differences, in_order, is_of_replay, parse, row_of, text_of

T0 = 1_700_000_000_000_000_000


def event(t_ns=T0 + 5_000, label="spike", score=0.9, kind=Kind.CLASS):
    return Event("s/1", kind, label, t_ns, t_ns - 100, t_ns, score, 0.5, "m@1")


def alarm(t_ns=T0 + 5_000, state=State.ACTIVE):
    return Alarm("id", "s/1", Kind.CLASS, "spike", "low", state, T0 + 5_000, t_ns, 0.9, 0.5, "m@1")


def test_times_count_from_the_first_sample_and_text_keeps_them():
    rows = [row_of(event(), T0), row_of(alarm(T0 + 9_000, State.CLEARED), T0)]
    assert (rows[0]["t_ns"], rows[0]["start_ns"], rows[1]["raised_ns"], rows[1]["changed_ns"]) == (
        5000,
        4900,
        5000,
        9000,
    )
    assert parse(text_of(rows), "f") == rows


def test_another_start_another_name_and_another_order_are_the_same():
    first = [row_of(n, T0) for n in (event(), alarm(), event(T0 + 10_000_000))]
    later = [
        row_of(msgspec.structs.replace(n, stream="other"), T0)
        for n in (event(T0 + 10_000_000), alarm(), event(score=0.9 + 1e-7))
    ]
    later[1]["id"] = "another"
    assert differences(later, first, 1e-5) == []
    assert differences(first, later, 1e-9) == ["0.000 s event class:spike: expected score 0.9000001, got 0.9"]


def test_what_is_missing_too_much_or_different_is_told():
    rows = [row_of(event(T0 + i * 10**9), T0) for i in range(4)]
    assert differences(rows[1:], rows, 1e-5) == ["missing: 0.000 s event class:spike"]
    assert differences(rows, rows[:2] + rows[3:], 1e-5) == ["not expected: 2.000 s event class:spike"]
    other = [*rows[:3], row_of(event(T0 + 3 * 10**9, label="V"), T0)]
    assert len(differences(other, rows, 1e-5)) == 2
    moved = [*rows[:3], row_of(event(T0 + 3 * 10**9 + 2_000_000), T0)]
    assert len(differences(moved, rows, 1e-5)) == 2
    longer = [*rows[:3], {**rows[3], "end_ns": 5 * 10**9}]
    assert differences(longer, rows, 1e-5) == [
        "3.000 s event class:spike: expected end_ns 3000000000, got 5000000000"
    ]


def test_that_the_sender_is_another_one_is_not_of_the_replay():
    assert is_of_replay(event(), T0)
    assert is_of_replay(alarm(), T0)
    assert not is_of_replay(event(T0, "restart", kind=Kind.SIGNAL), T0)
    assert is_of_replay(event(T0 + 10**9, "restart", kind=Kind.SIGNAL), T0)


def test_that_a_sender_has_ended_is_not_of_the_replay():
    assert not is_of_replay(event(T0 + 10**9, "stale", kind=Kind.SIGNAL), T0)
    assert not is_of_replay(msgspec.structs.replace(alarm(), kind=Kind.SIGNAL, label="stale"), T0)
    assert is_of_replay(msgspec.structs.replace(alarm(), kind=Kind.SIGNAL, label="flat"), T0)


def test_order_is_by_time():
    rows = [row_of(alarm(T0 + 7_000), T0), row_of(event(), T0)]
    assert in_order(rows) == rows[::-1]


@pytest.mark.parametrize("text", ["{", "[]", '{"what": "else"}', "5"])
def test_a_file_of_another_kind_is_refused(text):
    with pytest.raises(RecordingError, match="f, line 2: expected"):
        parse(text_of([row_of(event(), T0)]) + text, "f")
