"""The problems only shipping answers with."""

from __future__ import annotations

from expedite_chassis import Problem, ProblemType, register_problem
from shipping.domain.custody import Refused

for _known in (
    ProblemType("unknown-parcel", 404, "No such parcel", "No parcel with this number is known here.",
                "Check the number. A parcel packed a moment ago may not have arrived at shipping yet."),
    ProblemType("unknown-carrier", 404, "No such carrier", "No carrier with this id is known here.",
                "Check the id, or create the carrier with PUT /carriers/{id}."),
    ProblemType("unknown-delivery", 404, "No such webhook delivery", "No webhook with this id was kept.",
                "Look it up under GET /tracking-deliveries."),
    ProblemType("no-label", 404, "There is no such label",
                "The parcel has no label yet, or its carrier does not sell this format.",
                "See the parcel's `label` and `problem`; ask for the other format."),
    ProblemType("carrier-away", 503, "The carrier does not answer", "The carrier did not send what was asked of it.",
                "Try again in a moment; the ZPL label is kept here and needs no carrier."),
    ProblemType("parcel-cancelled", 409, "The parcel is cancelled",
                "Units of the parcel must not be delivered and are still inside.",
                "Take the cancelled units out, put them back and confirm with POST /parcels/{id}/put-back."),
    ProblemType("order-held", 409, "The order is on hold", "Nothing of the order may leave before every hold is released.",
                "Leave the parcel on the dock until the hold is released."),
    ProblemType("parcel-unlabelled", 409, "The parcel has no label", "No carrier can take a parcel without a label.",
                "Wait for the label; when buying it failed, POST /parcels/{id}/label tries again."),
    ProblemType("parcel-ended", 409, "The parcel has reached its end", "It was delivered, lost, returned or cancelled.",
                "Take it off the dock; its goods are accounted for."),
    ProblemType("wrong-label", 409, "The label belongs to another parcel",
                "The scanned code is not this parcel's tracking number.",
                "Scan the parcel again; take off the wrong label and print the right one."),
    ProblemType("nothing-to-put-back", 409, "Nothing is to be put back", "No unit in the parcel is cancelled.",
                "Leave the parcel as it is."),
    ProblemType("not-on-the-way", 409, "The parcel is not with the carrier", "Only a parcel on its way can come back.",
                "See the parcel's status."),
    ProblemType("label-not-failed", 409, "The label did not fail", "Only a failed label is bought anew by hand.",
                "See the parcel's `label_state`."),
):  # fmt: skip
    register_problem(_known)


def unknown_parcel(parcel_id: str) -> Problem:
    """404 with what to check."""
    return Problem(404, "unknown-parcel", detail=f"No parcel {parcel_id} is known here.")


def refused(refusal: Refused) -> Problem:
    """409 with the reason in the words of the crew."""
    return Problem(409, refusal.code, detail=refusal.reason)
