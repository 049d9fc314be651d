"""Where samples come from: each source yields the messages it received, in lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class Message(NamedTuple):
    """One received message."""

    payload: bytes
    stream: str
    """The stream its topic names; empty when the topic names none."""


class Source(Protocol):
    """Something that receives."""

    def batches(self) -> AsyncIterator[list[Message]]:
        """What came, in lists: everything there was when the source looked."""
        ...

    def close(self) -> None:
        """Stop receiving."""
        ...


def stream_of(topic: str, prefix: str) -> str:
    """The stream in `PREFIX/STREAM/samples`; empty for any other topic."""
    head, tail = f"{prefix}/", "/samples"
    if topic.startswith(head) and topic.endswith(tail):
        return topic[len(head) : -len(tail)]
    return ""
