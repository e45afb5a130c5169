"""The notifier's own settings, from the environment (prefix NOTIFIER_)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class NotifierSettings(BaseSettings):
    """Where mail goes and in whose name."""

    model_config = SettingsConfigDict(env_prefix="NOTIFIER_")

    smtp_host: str = "127.0.0.1"
    smtp_port: int = 8025
    smtp_user: str | None = None
    smtp_password: str | None = None
    smtp_starttls: bool = False
    smtp_timeout_s: float = 20.0
    sender: str = "Expedite <orders@expedite.example>"
    staff_email: str = "operations@expedite.example"  # when a breach names a person we do not know
    message_domain: str = "expedite.example"
    mails_per_s: float = Field(default=50.0, ge=0)
    """How fast each lane's process sends, on average; 0: as fast as it can. Relays limit rates, and a burst of messages
    must not take the machine from the orders it is about. What waits is in `GET /messages/queue`. Urgent orders have the
    express lane's process and its pace for themselves."""

    @property
    def at_once(self) -> int:
        """Messages sent between two looks at the queue: a second's, so that a crash repeats few of them."""
        return max(1, min(200, round(self.mails_per_s))) if self.mails_per_s else 200


settings = NotifierSettings()
