"""What is wrong with a file of keys and values, in the words of who wrote it.

msgspec says ``Expected `int`, got `str` - at `$.mqtt.port` ``; people are told
``mqtt.port: expected a whole number, got '1883'``, and of a key that is not there which one they may have meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect

_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `(?P<of_key>key in )?\$?(?P<path>.*?)`)?", re.DOTALL)
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": 'text in "quotes"',
    "bool": "true or false",
    "array": "a list in [ ]",
    "object": "a table",
    "null": "nothing",
}
_SIZES = {">=": "at least", "<=": "at most", ">": "above", "<": "below"}
_SHOWN = 60
_LIKELY = 0.7
"""How much alike two keys must be for one to be meant where the other stands."""


def complaint(
    error: msgspec.ValidationError, data: object, kind: Any, secrets: Iterable[str] = ()
) -> tuple[str, str]:
    """The key that `error` is about and a sentence that begins with it, where `data` were to become a `kind`.

    What was found there is shown, except for the keys in `secrets`.
    """
    match = _MESSAGE.fullmatch(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    key = path.replace("[...]", "").lstrip(".")
    there, found = _follow(path, inspect.type_info(kind), data)
    if unknown := re.search(r"unknown field `(.*)`", what):
        keys = [field.encode_name for field in there.fields] if isinstance(there, inspect.StructType) else []
        key = f"{key}.{unknown[1]}".lstrip(".")
        return key, f"{key}: no such key; {_meant(unknown[1], keys)}"
    if missing := re.search(r"missing required field `(.*)`", what):
        key = f"{key}.{missing[1]}".lstrip(".")
        return key, f"{key}: missing, and there is no default"
    if not what.startswith(("Expected `", "Invalid enum")):  # our own sentence, which says it all
        joint = "." if re.match(r"[\w.]+: ", what) else ": "
        return key, f"{key}{joint if key else ''}{what}"
    got = "" if "[...]" in path or key in secrets else f", got {_shown(found)}"
    entries = isinstance(there, inspect.VarTupleType) and isinstance(there.item_type, inspect.StructType)
    wanted = f"entries, each under [[{key}]]" if entries else _expected(what, there)
    return key, f"{key}: expected {wanted}{got}"


def _follow(path: str, kind: inspect.Type, data: object) -> tuple[inspect.Type, Any]:
    """The type and the value at the end of a path such as `.streams[0].rate_hz`."""
    kind = _settled(kind)
    for name, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path):
        if name and isinstance(kind, inspect.StructType):
            kind = next((field.type for field in kind.fields if field.encode_name == name), inspect.AnyType())
            data = data.get(name) if isinstance(data, dict) else None
        elif isinstance(kind, inspect.DictType):
            kind, data = kind.value_type, data.get(name) if isinstance(data, dict) and name else None
        elif isinstance(kind, inspect.VarTupleType | inspect.ListType):
            kind = kind.item_type
            data = data[int(index)] if isinstance(data, list) and index.isdecimal() else None
        else:
            return inspect.AnyType(), None
        kind = _settled(kind)
    return kind, data


def _settled(kind: inspect.Type) -> inspect.Type:
    """Of something or nothing, the something."""
    if isinstance(kind, inspect.UnionType):
        return next((_settled(one) for one in kind.types if not isinstance(one, inspect.NoneType)), kind)
    return kind


def _expected(what: str, kind: inspect.Type) -> str:
    """What msgspec says that it expected, in words."""
    if isinstance(kind, inspect.Metadata):
        words = (kind.extra or {}).get("words")
        if words and "matching regex" in what:
            return str(words)
        kind = kind.type
    if isinstance(kind, inspect.EnumType):
        return "one of " + ", ".join(str(member.value) for member in kind.cls)
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(map(str, kind.values))
    wanted = what.removeprefix("Expected ").partition(", got ")[0]
    names, _, more = wanted.removeprefix("`").partition("`")
    words = " or ".join(_WORDS.get(name, name) for name in names.split(" | ") if name != "null")
    size = more.split()
    if len(size) == 2 and size[0] in _SIZES:
        return f"{words}, {_SIZES[size[0]]} {size[1].removesuffix('.0')}"
    return words + more


def _meant(key: str, keys: list[str]) -> str:
    likely = difflib.get_close_matches(key, keys, 1, _LIKELY)
    return f"did you mean {likely[0]}?" if likely else f"expected one of {', '.join(keys)}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
