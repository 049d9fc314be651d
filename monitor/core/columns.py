"""What stands in arrays of many streams, as attributes of one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

N = TypeVar("N")


class Column(Generic[N]):
    """A number of an object that has a `slot`: what stands there in the array that `of` finds."""

    def __init__(self, of: Callable[[Any], NDArray[Any]], kind: Callable[[Any], N]) -> None:
        self._of, self._kind = of, kind

    def __get__(self, one: Any, owner: type | None = None) -> N:
        return self._kind(self._of(one)[one.slot])

    def __set__(self, one: Any, value: N) -> None:
        self._of(one)[one.slot] = value
