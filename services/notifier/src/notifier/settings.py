"""The notifier's own settings, from the environment (prefix NOTIFIER_)."""

from __future__ import annotations

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


settings = NotifierSettings()
