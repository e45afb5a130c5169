"""The rules that services keep. Each is asked by its name where it matters, so that a run may break one on purpose: a
model that does not notice proves nothing."""

from __future__ import annotations

RULES: dict[str, str] = {
    # what travels and what is remembered
    "settled travels": "Requests refused already travel with the units when they come back.",
    "settled is heeded": "A settled quantity request is not applied again by the station that receives the units.",
    "standing holds again": "A standing request holds again when refused units come back.",
    "asked before arrival (floor)": "Fulfillment applies requests that came before the work.",
    "asked before arrival (dock)": "Shipping applies requests that came before the parcel.",
    "unseen is answered once and for all": "Inventory drops units it answered for before it had seen them.",
    "outcomes once": "An outcome is booked once per (kind, container, unit).",
    "work once": "A fulfilment order that is announced again is the same work.",
    "parcels once": "A parcel that is announced again is the same parcel.",
    "events after the commit": "Nothing of a step that died before its commit is ever seen.",
    # who answers
    "only what I hold": "Fulfillment says nothing about units that left it.",
    "the hand-over is the end of it": "From the hand-over on a cancel is refused.",
    "yes replaces no": "A yes replaces a no at intake, never the other way round.",
    "others, not the same": "A refused quantity is asked of units that were not tried.",
    "put back before yes": "Cancelled units leave the parcel at once, so that no scan can take them away.",
    "news of parcels only while they travel": "What a carrier says about a parcel that arrived changes nothing.",
    # goods
    "lost is lost": "Lost goods are not put back on the books.",
    "freed once": "Goods of a cancelled unit become free once, however many requests named it.",
    "short bins are counted": "What a picker did not find is in count before it is sourced again.",
    "goods of the dead arrive": "Transferred goods whose unit died become available where they arrive.",
    "dead units free their goods": "A unit that dies on the shelf gives its goods back.",
    "inspection may come first": "An inspection that is heard before the return is kept until it comes.",
    # holds
    "tombstones": "A release that comes before its hold is remembered.",
    "holds have ids": "A release ends one hold, not all.",
    "held: inventory announces nothing": "Inventory announces no work of a held order.",
    "held: nobody picks": "Nobody picks, packs or dispatches for a held order.",
    "held: nothing is handed over": "No parcel of a held order is handed over.",
    "a decided hold does not expire": "A hold's clock that rings after the decision changes nothing.",
    # amendments
    "packed is packed": "An amendment is refused for packed units.",
    "amended before arrival": "Fulfillment applies amendments that came before the work.",
    "highest version wins": "Older content never replaces newer content, whichever event brings it.",
    "answers for what comes back": "Inventory answers amendments for units that come back to it.",
    "whole or not at all": "An amendment that is refused in part changes nothing.",
    # remedies, money, returns, ends
    "one remedy per occasion": "The first choice for an occasion is the choice.",
    "too late is too late": "A remedy is not applied to units that are handed on.",
    "returns unit by unit": "A return may be inspected in parts; each unit has its verdict.",
    "money once": "A unit is refunded once, whatever the cause.",
    "start after every change": "The start rule runs after every change of an order.",
    "together or not at all": "An order that is to leave complete starts when nothing of it waits.",
    "balanced before closed": "An order is closed when each unit has come to its end.",
}

# Broken alone, these are healed by a station further on: the dock cancels what the floor did not, and so on. A mistake
# breaks as many rules as it takes to be seen.
TOGETHER: dict[str, tuple[str, ...]] = {
    "asked before arrival (floor)": ("asked before arrival (floor)", "asked before arrival (dock)"),
}


# A seed that is known to notice, for mistakes that need a rare meeting: where a test looks first.
KNOWN: dict[str, int] = {
    "settled travels": 764,
    "yes replaces no": 718,
    "others, not the same": 52,
    "asked before arrival (floor)": 36,
    "asked before arrival (dock)": 36,
    "amended before arrival": 31,
    "answers for what comes back": 285,
    "returns unit by unit": 656,
}


def mistakes() -> dict[str, tuple[str, ...]]:
    """Each planted mistake: its name, and the rules it breaks."""
    return {rule: TOGETHER.get(rule, (rule,)) for rule in RULES}
