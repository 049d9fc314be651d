"""What a sender is told of bytes that are no block: what was expected, what came, and what to write instead."""

from __future__ import annotations

import re

import msgspec

from monitor.core.errors import SchemaError

_EXAMPLE = '{"values": [0.1, null, 0.3]}'
_WORDS = {
    "values": "a number, a list of numbers, or of rows of numbers, null for one that is missing",
    "seq": "a whole number",
    "t0_ns": "a whole number of nanoseconds since 1970",
    "rate_hz": "a number",
    "channels": "a list of names",
}
_SHOWN = 60


def not_a_block(payload: bytes, stream: str, error: Exception) -> SchemaError:
    """The refusal of `payload`, which could not be decoded because of `error`.

    Its kind tells one mistake from another, so that each is logged once.
    """
    kind, said = _kind_and_words(payload, str(error))
    return SchemaError(f"stream {stream!r}: {said}", stream=stream, kind=kind)


def _kind_and_words(payload: bytes, message: str) -> tuple[str, str]:
    head = payload[: 2 * _SHOWN].strip()
    if not head:
        return "empty", f"expected a block such as {_EXAMPLE}, got an empty message"
    shown = repr(payload[:_SHOWN].decode("utf-8", "replace")) + ("..." if len(payload) > _SHOWN else "")
    if not head.startswith(b"{"):
        if head.decode("latin-1").isprintable() and head.isascii():
            return "text", f"expected a number, JSON such as {_EXAMPLE}, or MessagePack, got {shown}"
        return "malformed", (
            f"expected a block in MessagePack or JSON, got {len(payload)} bytes that are not one: {message}"
        )
    return _of_json(payload, message, shown)


def _of_json(payload: bytes, message: str, shown: str) -> tuple[str, str]:
    if key := re.search(r"`\$\.(\w+)", message):
        words = _WORDS.get(key[1], "text")
        return key[1], f"{key[1]}: expected {words}, got {shown} ({message})"
    if "missing required field" in message:
        return "values", f"values: expected a block such as {_EXAMPLE}, got {_keys_of(payload) or shown}"
    if re.search(rb"\b(NaN|Infinity|nan|inf)\b", payload):
        return "nan", f"JSON has no NaN and no Infinity: write null for what is missing, got {shown} ({message})"
    return "malformed", f"expected JSON such as {_EXAMPLE}, got {shown}: {message}"


def _keys_of(payload: bytes) -> str:
    """Which keys an object has, in words; empty where it is not one, although it begins like one."""
    try:
        keys = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return f"one with {', '.join(keys) or 'no key at all'}"
