"""Where samples come from: each source yields deliveries, everything there was when it looked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Protocol

MAX_MESSAGE_BYTES = 4 * 1024 * 1024


class Message(NamedTuple):
    """One received message."""

    payload: bytes
    stream: str
    """The stream its topic names; empty when the topic names none."""


class Delivery(NamedTuple):
    """Messages that came together."""

    messages: list[Message]
    acknowledge: Callable[[], None] | None = None
    """To be called once everything these messages caused is durable; None where nobody waits for that."""
    patience_s: float = 0.0
    """For how long what lies before them may still come, where what was not acknowledged is delivered again."""


class Source(Protocol):
    """Something that receives."""

    @property
    def name(self) -> str:
        """Where it receives, for people."""
        ...

    def deliveries(self) -> AsyncIterator[Delivery]:
        """What came, for ever."""
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
