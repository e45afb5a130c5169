"""What an operator may configure about sourcing, from the environment."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from inventory.domain.sourcing import Policy


class StockSettings(BaseSettings):
    """`INVENTORY_BACKORDER_DAYS`: working days told for a backorder, 1 to 3 (D4). `INVENTORY_TRANSFER_HOURS`: hours a
    transfer between warehouses takes."""

    model_config = SettingsConfigDict(env_prefix="INVENTORY_", extra="ignore")

    backorder_days: int = Field(default=2, ge=1, le=Policy.MAX_DAYS)
    transfer_hours: float = Field(default=24.0, gt=0, le=240)

    def policy(self) -> Policy:
        return Policy(self.backorder_days, self.transfer_hours)
