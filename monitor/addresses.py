"""Addresses and names that a configuration may hold: what they must look like, and who can reach them."""

from __future__ import annotations

from typing import Annotated

import msgspec

_PORT = r"([0-5]?\d{1,4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"

Address = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^(tcp://[^/\s]+:({_PORT}|\*)|ipc://\S.*|)$",
        extra={"words": "an address like tcp://127.0.0.1:5555 or ipc:///run/foretrace/samples"},
    ),
]
"""Of a ZeroMQ socket; empty where it can be turned off."""
HostPort = Annotated[
    str, msgspec.Meta(pattern=rf"^(\S*:{_PORT})?$", extra={"words": "HOST:PORT, such as 127.0.0.1:9464"})
]
"""Of an HTTP server."""
Host = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([^/\s:]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$",
        extra={
            "words": "the name or the address of a machine, alone: its port and encryption have keys of their own"
        },
    ),
]
"""A machine; empty for none."""
Name = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,40}$", extra={"words": "1 to 40 of A-Z, a-z, 0-9, _ and -"})
]
"""One level of a topic."""
StreamPattern = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9_/*?!\[\]-]+$",
        extra={
            "words": "a stream's name, one to three levels of A-Z, a-z, 0-9, _ and -, or a shell pattern of such"
        },
    ),
]
"""Names of streams."""


def is_exposed(address: str) -> bool:
    """Whether other machines can reach a ZeroMQ socket that is bound there."""
    host = address.removeprefix("tcp://").rpartition(":")[0]
    return address.startswith("tcp://") and not (host in ("localhost", "[::1]") or host.startswith("127."))
