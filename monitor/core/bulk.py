"""Many blocks decoded together: what a socket held when it was drained.

It gives what monitor.core.wire gives for each of them, a few times as fast: a sender says the same of its stream
with every block, so what was said before need not be checked again, and what is new, the samples, is laid side by
side. Whatever is not plainly right is left to `decode_block`, which can say what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from monitor.core.blocks import Block
from monitor.core.errors import SchemaError
from monitor.core.pages import OPEN, Page, Who
from monitor.core.senml import decode_senml, is_senml
from monitor.core.wire import MAX_SEQ, Binary, decode_binary, decode_block

Message = tuple[bytes, str]
"""Payload, and the stream that its topic names."""


@dataclass(slots=True)
class _Sheet:
    """A page that is being written."""

    channels: int
    whos: list[Who] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    seq: list[int] = field(default_factory=list)
    t0_ns: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)

    def page(self) -> Page:
        values = np.frombuffer(b"".join(self.values), "<f4").reshape(len(self.slots), -1, self.channels)
        return Page(self.whos, np.array(self.slots), np.array(self.seq), np.array(self.t0_ns), values)


def decode(
    messages: Sequence[Message], known: Mapping[Who, int], max_samples: int
) -> Iterator[Page | Block | SchemaError]:
    """What is in `messages`: pages of blocks of streams that are `known` (slots), other blocks, or what is wrong.

    Each stream's come in order. `known` may change from one to the next. Values on a page may be NaN, or infinite.
    """
    sheets: dict[tuple[int, int], _Sheet] = {}
    noted: set[str] = set()
    for payload, stream in messages:
        try:
            head = decode_binary(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            head = None
        if head is not None:
            who = (head.stream, head.run, head.rate_hz, head.channels, head.unit)
            slot = known.get(who)
            if slot is not None and _is_plain(head, stream, max_samples):
                if head.stream in noted:
                    yield from _pages(sheets)
                    noted.clear()
                noted.add(head.stream)
                key = len(head.values), len(head.channels)
                sheet = sheets.get(key)
                if sheet is None:
                    sheet = sheets[key] = _Sheet(key[1] or 1)
                sheet.whos.append(who)
                sheet.slots.append(slot)
                sheet.seq.append(head.seq)  # type: ignore[arg-type]  # there is one, see _is_plain
                sheet.t0_ns.append(OPEN if head.t0_ns is None else head.t0_ns)
                sheet.values.append(head.values)
                continue
        blocks = decode_message(payload, stream, max_samples)
        if noted and any(block.stream in noted for block in blocks):
            yield from _pages(sheets)
            noted.clear()
        yield from blocks
    yield from _pages(sheets)


def _pages(sheets: dict[tuple[int, int], _Sheet]) -> Iterator[Page]:
    pages = [sheet.page() for sheet in sheets.values()]
    sheets.clear()
    yield from pages


def _is_plain(head: Binary, stream: str, max_samples: int) -> bool:
    """Whether what differs from block to block, but for the values, is as it should be."""
    size, width = len(head.values), 4 * (len(head.channels) or 1)
    return (
        head.seq is not None
        and 0 <= head.seq < MAX_SEQ
        and (head.t0_ns is None or 0 <= head.t0_ns < MAX_SEQ)
        and 0 < size <= max_samples * width
        and not size % width
        and (not stream or stream == head.stream)
    )


def decode_message(payload: bytes, stream: str, max_samples: int) -> list[Block | SchemaError]:
    """The block in a message, or why there is none; of a SenML pack there may be several."""
    try:
        if is_senml(payload):
            return [*decode_senml(payload, stream, max_samples=max_samples)]
        return [decode_block(payload, stream, max_samples=max_samples)]
    except SchemaError as error:
        return [error]
