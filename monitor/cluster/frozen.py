"""An engine's whole state as bytes, and back: what a partition's next owner goes on from, to the bit.

A restart of the daemon lives through the newest seconds again (monitor.relive), which brings windows back but not
everything a beat model has learned of a patient. Here nothing may differ, so the object graph itself is written
down: arrays, containers, and objects of monitor.core with their attributes. Rules of the file:

- It is not pickle. Only classes of monitor.core are made, without running any of their code, and functions, cards
  and rules are not written: the engine that is thawed has its own, from its configuration.
- An engine is frozen against a pristine one of the same configuration: of each array only the rows that differ.
- An engine is thawed into a pristine one of the same configuration, in place: what is shared stays shared.
"""

from __future__ import annotations

import enum
import functools
import sys
import types
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from monitor.core.card import Card
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.core.rules import Rule, Track

_PLAIN = (bool, int, float, str, bytes, type(None))
_OWN = (Card, Rule, Track, types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)
"""What every engine brings itself."""
_HOME = "monitor.core."
_LEVEL = 1
"""Of zlib: more takes several times as long and gains a tenth."""

Node = Any
"""A plain value, or a list whose first item says what it is."""


def freeze(engine: Engine, pristine: Engine) -> bytes:
    """All of `engine`, as it differs from `pristine`; raises TypeError for what cannot be written."""
    return zlib.compress(msgspec.msgpack.encode(_Freezer().node(engine, pristine, "engine")), _LEVEL)


def thaw(data: bytes, pristine: Engine) -> None:
    """Make `pristine` the engine that was frozen; raises SchemaError where it was of another shape.

    What is left of it is then of no use.
    """
    try:
        _Thawer().value(msgspec.msgpack.decode(zlib.decompress(data)), pristine)
    except (zlib.error, msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError,
            OverflowError, RecursionError) as error:  # fmt: skip
        raise SchemaError(f"expected the state of an engine like this one, got another: {error!r}") from error


class _Freezer:
    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._alive: list[object] = []  # an id is one object's for as long as that lives

    def node(self, value: Any, other: Any, path: str) -> Node:
        """`value` written down; `other` is what lies at the same place in the pristine engine, if anything."""
        if type(value) in _PLAIN:
            return value
        if isinstance(value, enum.Enum):
            return ["enum", _name_of(type(value)), value.value]
        if isinstance(value, np.generic):
            return ["number", value.dtype.str, value.tobytes()]
        if isinstance(value, _OWN):
            return ["own"]
        if id(value) in self._numbers:
            return ["again", self._numbers[id(value)]]
        self._numbers[id(value)] = len(self._alive)
        self._alive.append(value)
        return self._written(value, other, path)

    def _written(self, value: Any, other: Any, path: str) -> Node:
        if isinstance(value, np.ndarray):
            return _array_node(value, other)
        if isinstance(value, dict):
            return ["dict", [[self.node(k, None, path), self._item(value, other, k, path)] for k in value]]
        if isinstance(value, list | tuple | deque | set | frozenset) and not hasattr(value, "_fields"):
            others = list(other) if isinstance(other, list | tuple) and len(other) == len(value) else None
            items = [
                self.node(item, others[at] if others else None, f"{path}[{at}]") for at, item in enumerate(value)
            ]
            return [type(value).__name__, items, getattr(value, "maxlen", None)]
        if type(value).__module__.startswith(_HOME):
            return ["object", _name_of(type(value)), self._attributes(value, other, path)]
        raise TypeError(f"{path}: a {type(value).__qualname__} cannot be written down")

    def _item(self, value: dict[Any, Any], other: Any, key: Any, path: str) -> Node:
        return self.node(value[key], other.get(key) if isinstance(other, dict) else None, f"{path}[{key!r}]")

    def _attributes(self, value: Any, other: Any, path: str) -> dict[str, Node]:
        return {
            name: self.node(getattr(value, name), getattr(other, name, None), f"{path}.{name}")
            for name in _attributes_of(value)
        }


class _Thawer:
    def __init__(self) -> None:
        self._known: dict[int, Any] = {}
        self._next = 0

    def value(self, node: Node, other: Any) -> Any:
        """What `node` says; where `other`, of the engine that is thawed, is of its kind, it becomes that."""
        if not isinstance(node, list):
            return node
        match node:
            case ["enum", str(name), value]:
                return _class_of(name)(value)
            case ["number", str(kind), bytes(raw)]:
                return np.frombuffer(raw, kind)[0]
            case ["own"]:
                if other is None:
                    raise ValueError("something every engine brings itself is not there")
                return other
            case ["again", int(number)]:
                return self._known[number]
        number = self._next
        self._next += 1
        made = self._made(number, node, other)
        self._known[number] = made
        return made

    def _made(self, number: int, node: Node, other: Any) -> Any:
        match node:
            case ["array", *_]:
                return _array_of(node, other)
            case ["dict", items]:
                made = other if isinstance(other, dict) else {}
                self._known[number] = made
                fresh = {}
                for key_node, value_node in items:  # in the order in which they were numbered
                    key = self.value(key_node, None)
                    fresh[key] = self.value(value_node, made.get(key))
                made.clear()
                made.update(fresh)
                return made
            case ["object", str(name), attributes]:
                return self._object(number, _class_of(name), attributes, other)
            case [("list" | "tuple" | "deque" | "set" | "frozenset") as kind, items, longest]:
                return self._sequence(number, kind, items, longest, other)
        raise ValueError(f"{node[0]!r} is unknown")

    def _sequence(self, number: int, kind: str, items: list[Node], longest: int | None, other: Any) -> Any:
        others = list(other) if isinstance(other, list | tuple) and len(other) == len(items) else None
        made: Any = other if isinstance(other, list | deque | set) and type(other).__name__ == kind else None
        if made is None:
            made = {"list": list, "set": set}.get(kind, list)() if kind != "deque" else deque(maxlen=longest)
        if kind in ("list", "deque", "set"):
            self._known[number] = made
        values = [self.value(item, others[at] if others else None) for at, item in enumerate(items)]
        if kind == "tuple":
            return tuple(values)
        if kind == "frozenset":
            return frozenset(values)
        made.clear()
        made.update(values) if kind == "set" else made.extend(values)
        return made

    def _object(self, number: int, kind: type, attributes: dict[str, Node], other: Any) -> Any:
        here = other if type(other) is kind else None
        if issubclass(kind, msgspec.Struct | tuple):  # made at once, and never changed
            return kind(**{name: self.value(node, getattr(here, name, None)) for name, node in attributes.items()})
        made = object.__new__(kind) if here is None else here
        self._known[number] = made
        for name, node in attributes.items():
            object.__setattr__(made, name, self.value(node, getattr(made, name, None)))
        return made


def _array_node(array: np.ndarray[Any, Any], other: Any) -> Node:
    if isinstance(other, np.ndarray) and other.shape == array.shape and other.dtype == array.dtype and array.ndim:
        if not array.flags.writeable:
            return ["array"]  # a constant, or a view of another array
        differs = _bytes_by_row(array) != _bytes_by_row(other)
        rows = np.flatnonzero(differs.any(axis=1))
        return ["array", array.dtype.str, list(array.shape), rows.astype("<i4").tobytes(), array[rows].tobytes()]
    if array.dtype.kind in "OV":
        raise TypeError(f"an array of {array.dtype} cannot be written down")
    return ["array", array.dtype.str, list(array.shape), None, array.tobytes()]


def _bytes_by_row(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    flat = np.ascontiguousarray(array).reshape(len(array), -1)  # by its bytes: NaN is like NaN
    return flat.view(np.uint64 if flat.nbytes and flat.strides[0] % 8 == 0 else np.uint8) if flat.size else flat


def _array_of(node: Node, other: Any) -> np.ndarray[Any, Any]:
    if len(node) == 1:
        if not isinstance(other, np.ndarray):
            raise ValueError("an array that every engine brings itself is not there")
        return other
    _, kind, shape, rows, raw = node
    if rows is None:
        if np.dtype(kind).kind in "OV":
            raise ValueError(f"an array of {kind}")
        return np.frombuffer(raw, kind).reshape(shape).copy()
    if not isinstance(other, np.ndarray) or list(other.shape) != shape or other.dtype.str != kind:
        raise ValueError(f"an array of {kind} {shape} where this engine has none such")
    at = np.frombuffer(rows, "<i4")
    other[at] = np.frombuffer(raw, other.dtype).reshape(len(at), *shape[1:])
    return other


def _attributes_of(value: object) -> Iterator[str]:
    kind = type(value)
    if fields := getattr(kind, "__struct_fields__", None) or getattr(kind, "_fields", None):
        yield from fields
        return
    yield from getattr(value, "__dict__", ())
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (s for s in ((slots,) if isinstance(slots, str) else slots) if hasattr(value, s))


def _name_of(kind: type) -> str:
    if not kind.__module__.startswith(_HOME):
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not of {_HOME}")
    return f"{kind.__module__}:{kind.__qualname__}"


def _class_of(name: str) -> type:
    module, _, attribute = name.partition(":")
    found = getattr(sys.modules.get(module), attribute, None) if module.startswith(_HOME) else None
    if not isinstance(found, type) or found.__module__ != module:
        raise ValueError(f"{name} is no class of {_HOME}")
    return found
