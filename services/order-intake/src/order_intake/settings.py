"""The environment of order-intake."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt

from expedite_chassis import Settings
from order_intake.domain.channel import Policy


class IntakeSettings(Settings):
    """Hours are hours of the business clock."""

    completion_hours: PositiveFloat = Field(2, validation_alias=AliasChoices("EXPEDITE_COMPLETION_HOURS"))
    review_hours: PositiveFloat = Field(2, validation_alias=AliasChoices("EXPEDITE_REVIEW_HOURS"))
    payment_hours: PositiveFloat = Field(24, validation_alias=AliasChoices("EXPEDITE_PAYMENT_HOURS"))
    confirm_hours: PositiveFloat = Field(72, validation_alias=AliasChoices("EXPEDITE_CONFIRM_HOURS"))
    duplicate_hours: float = Field(24, ge=0, validation_alias=AliasChoices("EXPEDITE_DUPLICATE_HOURS"))  # 0: never
    large_quantity: PositiveInt = Field(10_000, validation_alias=AliasChoices("EXPEDITE_LARGE_QUANTITY"))


@lru_cache(maxsize=1)
def policy() -> Policy:
    """The limits of this process."""
    settings = IntakeSettings()
    return Policy(
        completion_time=timedelta(hours=settings.completion_hours),
        review_time=timedelta(hours=settings.review_hours),
        payment_time=timedelta(hours=settings.payment_hours),
        confirm_time=timedelta(hours=settings.confirm_hours),
        duplicate_window=timedelta(hours=settings.duplicate_hours),
        large_quantity=settings.large_quantity,
    )
