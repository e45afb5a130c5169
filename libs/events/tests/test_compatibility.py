"""The compatibility gate lets additive changes through and sees every other one (I1)."""

import copy

import pytest

from expedite_events import row_of_topic
from expedite_events.compatibility import breaking_changes
from expedite_events.documents import schema

OLD = schema(row_of_topic("StockReserved"))


def changed(edit) -> list[str]:
    new = copy.deepcopy(OLD)
    edit(new)
    return breaking_changes(OLD, new)


def test_the_same_schema_and_an_optional_field_are_additive() -> None:
    assert changed(lambda s: None) == []
    assert changed(lambda s: s["properties"].update(note={"type": "string", "default": ""})) == []


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda s: s["properties"].pop("units"), "/units: removed"),
        (lambda s: s["properties"]["warehouse_id"].update(type="integer"), "type changes"),
        (lambda s: s["required"].remove("units"), "no longer guaranteed"),
        (lambda s: (s["properties"].update(x={"type": "string"}), s["required"].append("x")), "/x: becomes required"),
        (lambda s: s["$defs"]["Tier"].update(enum=["urgent"]), "allowed values change"),
        (lambda s: s["$defs"]["LineGoods"]["properties"].pop("sku"), "/sku: removed"),
        (lambda s: s["properties"]["units"]["items"]["properties"]["first"].update(maximum=9), "maximum changes"),
    ],
)
def test_every_other_change_is_refused(edit, says: str) -> None:
    assert any(says in line for line in changed(edit)), changed(edit)
