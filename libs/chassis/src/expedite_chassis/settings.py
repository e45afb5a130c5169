"""What a process is told by its environment. Names are part of the deployment contract; values never hold secrets:
those stay in one file that only its owner reads."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024
_WITH_PAGES = ("control-tower", "notifier")


class SecretsUnreadable(Exception):
    """The secrets file is missing or is not the JSON object it should be; the text says which."""


def _env(name: str) -> Any:
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """Environment of one process. A service with settings of its own subclasses this and names it in its spec."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    database_url: str = Field("", validation_alias=_env("DATABASE_URL"), repr=False)  # holds a password
    kafka_bootstrap: str = Field("127.0.0.1:9092", validation_alias=_env("KAFKA_BOOTSTRAP"))
    host: str = Field("127.0.0.1", validation_alias=_env("HOST"))
    port: int = Field(8000, ge=0, le=65535, validation_alias=_env("PORT"))
    slot: int = Field(0, ge=0, validation_alias=_env("EXPEDITE_SLOT"))  # number of this replica
    home: Path = Field(Path(".expedite"), validation_alias=_env("EXPEDITE_HOME"))
    secrets_file: Path | None = Field(None, validation_alias=_env("EXPEDITE_SECRETS"))
    urls: dict[str, str] = Field(default_factory=dict, validation_alias=_env("EXPEDITE_URLS"))  # service -> base URL
    cors_origins: tuple[str, ...] = Field((), validation_alias=_env("EXPEDITE_CORS_ORIGINS"))  # besides the tower's
    outgoing_hosts: tuple[str, ...] = Field((), validation_alias=_env("EXPEDITE_OUTGOING_HOSTS"))  # see `outgoing`
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", validation_alias=_env("EXPEDITE_LOG_LEVEL"))
    log_format: Literal["json", "console"] = Field("json", validation_alias=_env("EXPEDITE_LOG_FORMAT"))
    max_body_bytes: PositiveInt = Field(MIB, validation_alias=_env("EXPEDITE_MAX_BODY_BYTES"))
    requests_per_s: float = Field(2000.0, ge=0, validation_alias=_env("EXPEDITE_REQUESTS_PER_S"))  # of a client; 0: any
    head_s: PositiveFloat = Field(
        15.0, validation_alias=_env("EXPEDITE_HEAD_S")
    )  # real seconds for a request's headers
    body_s: PositiveFloat = Field(30.0, validation_alias=_env("EXPEDITE_BODY_S"))  # and for its body, see `Limits`
    stop_s: PositiveFloat = Field(15.0, validation_alias=_env("EXPEDITE_STOP_S"))  # real seconds to finish what runs

    @property
    def secrets_path(self) -> Path:
        """The secrets file: the named one, else `secrets.json` of the home."""
        return self.secrets_file or self.home / "secrets.json"

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """Origins whose pages may call this API: the control tower's and those of the customer's signed pages (the
        notifier's), under both names of a loopback address."""
        named = [*self.cors_origins, *(self.urls[name] for name in _WITH_PAGES if name in self.urls)]
        clean = [origin.rstrip("/") for origin in named]
        twins = [o.replace("//127.0.0.1:", "//localhost:") for o in clean]
        back = [o.replace("//localhost:", "//127.0.0.1:") for o in clean]
        return tuple(dict.fromkeys([*clean, *twins, *back]))


def read_secrets(path: Path) -> dict[str, Any]:
    """The secrets of a home; raises `SecretsUnreadable` with a text that names the file and never its content."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SecretsUnreadable(f"there is no secrets file {path}; set EXPEDITE_SECRETS or EXPEDITE_HOME") from None
    except (OSError, ValueError) as error:
        raise SecretsUnreadable(f"secrets file {path} cannot be read: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise SecretsUnreadable(f"secrets file {path} must hold a JSON object")
    return value
