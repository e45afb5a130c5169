"""Which box, which materials, which checks (E3): preset answers, so that nobody thinks at the bench."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from expedite_events import Value

VALUABLE = "valuable"
_FILL = 0.85  # share of a box's volume that goods of mixed shapes really fill


class Box(Value):
    """A box on the shelf of every packing bench: inner sizes in mm, what it weighs and may carry in g."""

    code: str
    length_mm: int
    width_mm: int
    height_mm: int
    own_g: int
    carries_g: int

    def room(self) -> tuple[float, int, int, int]:
        """The volume goods may have, and the inner sides, shortest first."""
        short, middle, long = sorted((self.length_mm, self.width_mm, self.height_mm))
        return short * middle * long * _FILL, short, middle, long


class Item(NamedTuple):
    """A product in a parcel: one piece's sizes in mm and weight in g (0: unknown), and how many pieces."""

    length_mm: int = 0
    width_mm: int = 0
    height_mm: int = 0
    weight_g: int = 0
    product_class: str = "standard"
    quantity: int = 1


class Packing(Value):
    """What to take to the bench and what to check before the box is closed."""

    box: str
    weight_g: int
    valuable: bool
    materials: tuple[str, ...]
    checklist: tuple[str, ...]


BOXES = (
    Box(code="mailer", length_mm=250, width_mm=180, height_mm=40, own_g=40, carries_g=1_000),
    Box(code="small", length_mm=300, width_mm=200, height_mm=150, own_g=150, carries_g=5_000),
    Box(code="medium", length_mm=400, width_mm=300, height_mm=250, own_g=350, carries_g=15_000),
    Box(code="large", length_mm=600, width_mm=400, height_mm=400, own_g=800, carries_g=30_000),
    Box(code="pallet", length_mm=1200, width_mm=800, height_mm=1800, own_g=22_000, carries_g=700_000),
)

_ROOMS = tuple((box, box.room()) for box in BOXES)
_MATERIALS = {"fragile": ("bubble wrap", "fragile label"), "perishable": ("cool pack", "insulated liner"),
              "valuable": ("security tape", "numbered seal")}  # fmt: skip
_CHECKS = {
    "fragile": "Each fragile piece is wrapped and does not move when the box is shaken.",
    "perishable": "Cool packs are frozen; the best-before date is after the promised day.",
    "valuable": "A second person saw the goods; the seal number is written down.",
}


def choose(items: Iterable[Item]) -> tuple[Box, int, set[str]]:
    """The smallest box by volume, longest side and weight; a pallet when nothing smaller carries the goods. With it the
    weight including the box, and the classes of the goods."""
    weight = volume = short = middle = long = 0
    classes: set[str] = set()
    for item in items:
        a, b, c = sorted((item.length_mm, item.width_mm, item.height_mm))
        short = a if a > short else short
        middle = b if b > middle else middle
        long = c if c > long else long
        weight += item.weight_g * item.quantity
        volume += a * b * c * item.quantity
        classes.add(item.product_class)
    for box, (room, low, mid, high) in _ROOMS:
        if volume <= room and weight <= box.carries_g and short <= low and middle <= mid and long <= high:
            return box, weight + box.own_g, classes
    return BOXES[-1], weight + BOXES[-1].own_g, classes


def plan(items: Iterable[Item]) -> Packing:
    """Everything to take to the bench and to check for these goods."""
    box, weight_g, found = choose(items)
    classes = sorted(found)
    return Packing(
        box=box.code,
        weight_g=weight_g,
        valuable=VALUABLE in found,
        materials=("void fill", *(m for c in classes for m in _MATERIALS.get(c, ()))),
        checklist=("Count the pieces against the list.", *(_CHECKS[c] for c in classes if c in _CHECKS)),
    )
