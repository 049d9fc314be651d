"""What becomes an alarm, and when: rules for kinds and labels, made numbers for one label."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from monitor.core.blocks import Kind, Priority


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one kind of anomaly becomes an alarm."""

    kind: Kind
    label: str = "*"
    """Which class, limit or fault; shell patterns allowed."""
    raise_level: float | None = None
    """Score from which it counts; None takes the model's own threshold. With a budget, never less counts."""
    clear_level: float | None = None
    """Score below which it is over; None takes 0.8 of the raise level. Without meaning with a budget."""
    budget_per_hour: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None
    """Alarms an hour that each stream may raise: the levels follow from it (classes and deviations only)."""
    hold_s: float = 0.0
    clear_s: float = 1.0
    priority: Priority = "medium"
    latch: bool = False
    """Keep it until somebody acknowledges, also when it is over."""

    def __post_init__(self) -> None:
        """An alarm must be over before it can begin again."""
        if self.raise_level is not None and self.clear_level is not None and self.clear_level > self.raise_level:
            raise ValueError(
                f"clear_level: expected at most raise_level, {self.raise_level:g}, got {self.clear_level:g}"
            )


DEFAULT_RULES = (
    Rule(kind=Kind.CLASS, label="V", clear_s=3.0),
    Rule(kind=Kind.CLASS),
    Rule(kind=Kind.DEVIATION, raise_level=4.0, clear_level=2.0, clear_s=1.0, priority="low"),
    Rule(kind=Kind.LIMIT, hold_s=2.0, clear_s=2.0, priority="high"),
    Rule(kind=Kind.LIMIT_AHEAD, hold_s=2.0, clear_s=10.0),
)


def rule_for(rules: Iterable[Rule], kind: Kind, label: str) -> Rule:
    """The first of `rules` that speaks of this kind and label, else the default one."""
    for rule in (*rules, *DEFAULT_RULES):
        if rule.kind == kind and fnmatchcase(label, rule.label):
            return rule
    return Rule(kind=kind)


class Track(msgspec.Struct, frozen=True):
    """A rule applied to one label, with its levels made numbers."""

    kind: Kind
    label: str
    rule: Rule
    raise_level: float
    clear_level: float
    model: str = ""

    @classmethod
    def of(cls, rules: Iterable[Rule], kind: Kind, label: str, default_level: float, model: str = "") -> Track:
        """The track of `label` under the rule that speaks of it."""
        rule = rule_for(rules, kind, label)
        level = default_level if rule.raise_level is None else rule.raise_level
        clear = 0.8 * level if rule.clear_level is None else min(rule.clear_level, level)
        return cls(kind, label, rule, level, clear, model)
