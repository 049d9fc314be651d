"""As much of a Dockerfile as its tests ask for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """One instruction of the file."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """Its arguments: those of a JSON array, or those that a shell would see."""
        at = self.rest.find("[")
        return json.loads(self.rest[at:]) if at >= 0 and self.rest.endswith("]") else shlex.split(self.rest)


def instructions(path: Path) -> list[Instruction]:
    """All of them, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*line.strip().split(None, 1)) for line in joined.splitlines() if line.strip()]


def stages(path: Path) -> list[list[Instruction]]:
    """The same, by stage."""
    found: list[list[Instruction]] = []
    for instruction in instructions(path):
        if instruction.word == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def environment(stage: list[Instruction]) -> dict[str, str]:
    """What its ENV instructions set."""
    pairs = [word.partition("=") for i in stage if i.word == "ENV" for word in shlex.split(i.rest)]
    return {name: value for name, _, value in pairs}
