"""A recording at rest: the struct that every format is read into, and the symbols of its beats."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from monitor.core.blocks import Floats, Ints

AAMI = {
    **dict.fromkeys("NLRej", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VE", "V"),
    "F": "F",
    **dict.fromkeys("/fQ", "Q"),
}
"""PhysioNet beat symbols -> AAMI EC57 classes: normal, supraventricular, ventricular, fusion, unknown."""


class Recording(msgspec.Struct, frozen=True):
    """Consecutive samples of one stream, at rest, with what is known about them."""

    name: str
    rate_hz: float
    channels: tuple[str, ...]
    unit: str
    values: Floats
    """(time, channel), NaN where nothing was recorded."""
    label_samples: Ints
    """Index of the sample each label stands at, ascending."""
    label_symbols: tuple[str, ...]
    start_ns: int
    """Time of the first sample, ns since the epoch (UTC); 0 where the recording does not say."""
    flutter: tuple[tuple[int, int], ...] = ()
    """First and last sample of each stretch annotated as ventricular flutter: there are no beats to tell."""
    remarks: tuple[tuple[int, str], ...] = ()
    """What else is annotated, each with its sample: rhythms, noise, what the monitor flagged."""


def nanoseconds(when: datetime) -> int:
    """Since the epoch; a time without a zone is taken for UTC."""
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000) * 1000


def plain_unit(unit: str) -> str:
    """A unit without the micro signs, of which Unicode has two: for formats of plain ASCII, where it is a u."""
    return unit.replace("\u00b5", "u").replace("\u03bc", "u")
