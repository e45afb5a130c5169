"""The table of priority rules (B1, B2): data, evaluated by one small function.

A rule fires when all its conditions hold. Rules with a `tier` compete: the most urgent one that fired wins, and an order
for which none fired is regular. Rules with `points` add up to the score that ranks orders inside a tier. Each rule that
fired becomes a reason with its inputs in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import eq, ge, lt
from typing import Any

from expedite_events import Reason, Tier, Value, checked

RULES_VERSION = 1

Facts = Mapping[str, Any]


def _among(value: Any, wanted: frozenset[Any]) -> bool:
    """Whether the value, or one of several, is among the wanted."""
    return not wanted.isdisjoint(value) if isinstance(value, tuple) else value in wanted


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "": eq,
    "any": _among,
    "none": lambda value, wanted: not _among(value, wanted),
    "gte": ge,
    "lt": lt,
}


class Rule(Value, dict=True):
    """One row. `when` maps a fact, or a fact and a comparison (`total__gte`), to the value it is compared with; `reason`
    is a sentence with the facts' names in braces."""

    rule: str
    when: dict[str, Any]
    reason: str
    tier: Tier | None = None
    points: float = 0.0
    express: bool = False  # the order rides the express lane

    @cached_property
    def conditions(self) -> tuple[tuple[str, Callable[[Any, Any], bool], Any], ...]:
        """Per condition: the fact, the comparison and what it is compared with, worked out once per rule."""
        split = ((condition.partition("__"), wanted) for condition, wanted in self.when.items())
        return tuple(
            (name, _COMPARISONS[comparison], frozenset(wanted) if comparison in ("any", "none") else wanted)
            for (name, _, comparison), wanted in split
        )

    def explain(self, facts: Facts) -> Reason:
        return Reason(rule=self.rule, points=self.points, text=self.reason.format_map(_Words(facts)))


RULES: tuple[Rule, ...] = tuple(
    checked(Rule, row)
    for row in (
        # Tiers
        {"rule": "urgent-mark", "when": {"urgent_mark": True}, "tier": "urgent", "express": True,
         "reason": "The channel marked the order for 24-hour shipping"},
        {"rule": "urgent-tag", "when": {"tags__any": ["urgent", "加急"]}, "tier": "urgent", "express": True,
         "reason": "The order is tagged urgent (tags: {tags})"},
        {"rule": "vip-customer", "when": {"level__any": ["diamond", "vip"]}, "tier": "high",
         "reason": "The customer's level is {level}"},
        {"rule": "custom-order", "when": {"tags__any": ["custom", "定制"]}, "tier": "high",
         "reason": "The order is made to measure (tags: {tags})"},
        {"rule": "high-value", "when": {"currency__any": ["USD", "EUR", "GBP", "CHF"], "total__gte": 1000},
         "tier": "high", "reason": "The order is worth {total} {currency}, at least 1,000"},
        {"rule": "high-value-cny", "when": {"currency__any": ["CNY", "PLN"], "total__gte": 5000}, "tier": "high",
         "reason": "The order is worth {total} {currency}, at least 5,000"},
        {"rule": "high-value-jpy", "when": {"currency": "JPY", "total__gte": 150_000}, "tier": "high",
         "reason": "The order is worth {total} {currency}, at least 150,000"},
        {"rule": "deferrable-return", "when": {"kind": "return", "tags__none": ["quality", "质量"]}, "tier": "low",
         "reason": "A return without a quality problem can wait"},
        # Points inside the tier; the slack rules add up
        {"rule": "slack-48h", "when": {"slack_hours__lt": 48}, "points": 10,
         "reason": "{slack_hours} h of slack before the promise, less than 48 h"},
        {"rule": "slack-24h", "when": {"slack_hours__lt": 24}, "points": 15,
         "reason": "{slack_hours} h of slack before the promise, less than 24 h"},
        {"rule": "slack-8h", "when": {"slack_hours__lt": 8}, "points": 25,
         "reason": "{slack_hours} h of slack before the promise, less than 8 h"},
        {"rule": "perishable", "when": {"classes__any": ["perishable"]}, "points": 20,
         "reason": "Perishable goods (product classes: {classes})"},
        {"rule": "valuable", "when": {"classes__any": ["valuable"]}, "points": 10,
         "reason": "Valuable goods (product classes: {classes})"},
        {"rule": "level-diamond", "when": {"level": "diamond"}, "points": 15, "reason": "Diamond customer"},
        {"rule": "level-vip", "when": {"level": "vip"}, "points": 12, "reason": "VIP customer"},
        {"rule": "level-gold", "when": {"level": "gold"}, "points": 8, "reason": "Gold customer"},
        {"rule": "level-silver", "when": {"level": "silver"}, "points": 4, "reason": "Silver customer"},
        {"rule": "value-200", "when": {"currency__any": ["USD", "EUR", "GBP", "CHF"], "total__gte": 200}, "points": 5,
         "reason": "The order is worth {total} {currency}, at least 200"},
        {"rule": "stock-short", "when": {"short": True}, "points": 10,
         "reason": "Stock fell short: what arrives should go here early"},
    )
)  # fmt: skip


_DEFAULT = Reason(rule="default", points=0.0, text="No rule asks for another tier")
_TIERS = tuple(sorted((r for r in RULES if r.tier), key=lambda r: (r.tier or Tier.LOW).rank))
_POINTS = tuple(r for r in RULES if r.points)


def fired(rules: Sequence[Rule], facts: Facts) -> list[Rule]:
    """The rules of which every condition holds. A fact that is not known (None) satisfies no comparison."""
    found = []
    for rule in rules:
        for name, holds, wanted in rule.conditions:
            value = facts[name]
            if value is None or not holds(value, wanted):
                break
        else:
            found.append(rule)
    return found


def tier_of(facts: Facts) -> tuple[Tier, bool, tuple[Reason, ...]]:
    """The tier the rules give, whether the order rides express, and why: every tier rule that fired, the decisive
    ones first."""
    found = fired(_TIERS, facts)
    if not found or found[0].tier is None:
        return Tier.REGULAR, False, (_DEFAULT,)
    return found[0].tier, any(r.express for r in found), tuple(rule.explain(facts) for rule in found)


def score_of(facts: Facts) -> tuple[float, tuple[Reason, ...]]:
    """The score inside the tier, higher first, and the points it is the sum of."""
    found = fired(_POINTS, facts)
    return sum([rule.points for rule in found], 0.0), tuple([rule.explain(facts) for rule in found])


class _Words(dict[str, Any]):
    """Facts as they read in a sentence."""

    def __init__(self, facts: Facts) -> None:
        super().__init__({name: ", ".join(map(str, v)) if isinstance(v, tuple) else v for name, v in facts.items()})
