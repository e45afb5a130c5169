"""Environment of shipping."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from expedite_chassis import Settings


class ShippingSettings(Settings):
    """`quote_valid_s`: real seconds for which rates that a carrier quoted for a whole lane are taken for other parcels
    too; 0: carriers are asked about every parcel."""

    quote_valid_s: float = Field(600.0, ge=0, validation_alias=AliasChoices("SHIPPING_QUOTE_VALID_S", "quote_valid_s"))
