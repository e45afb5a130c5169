"""Rendering and sending a message: the only place of the notifier that touches the outside."""

from __future__ import annotations

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any

import aiosmtplib
import babel.dates
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from expedite_messaging import EffectCall, GaveUp
from notifier.settings import NotifierSettings

HERE = Path(__file__).parent
environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(("html",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
LOCALES = {"en": "en_GB", "zh": "zh_Hans_CN"}


def local_date(value: str, language: str) -> str:
    """An ISO moment as people read it, with the weekday; times are UTC and say so."""
    if not value:
        return "—"
    return babel.dates.format_datetime(datetime.fromisoformat(value), "EEEE d MMMM, HH:mm 'UTC'" if language == "en"
                                       else "M月d日EEEE HH:mm 'UTC'", locale=LOCALES[language])  # fmt: skip


def render(data: dict[str, Any], status_url: str) -> tuple[str, str, str]:
    """(subject, text, HTML) of a message in its language. The first line of a template is the subject."""
    language = data["language"]
    context = {
        **data,
        **data["facts"],
        "status_url": status_url,
        "date": lambda value: local_date(value, language),
    }
    text = environment.get_template(f"{language}/{data['kind']}.txt").render(context)
    subject, _, body = text.partition("\n")
    body = body.strip()
    html = environment.get_template("email.html").render(
        subject=subject, paragraphs=body.split("\n\n"), language=language, status_url=status_url, order_id=data["order_id"],
        audience=data["audience"],
    )  # fmt: skip
    return subject.strip(), body, html


def compose(data: dict[str, Any], status_url: str, settings: NotifierSettings, sent_at: datetime) -> EmailMessage:
    """The message as it goes over the wire. The Message-ID is the message's identity: a repeated send after a crash is
    recognisable as the same message."""
    subject, text, html = render(data, status_url)
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["From"] = settings.sender
    mail["To"] = Address(display_name=data["name"], addr_spec=parseaddr(data["to"])[1])
    mail["Message-ID"] = f"<{data['message_id']}@{settings.message_domain}>"
    mail["Date"] = format_datetime(sent_at)
    mail["X-Expedite-Order"] = data["order_id"]
    mail["X-Expedite-Kind"] = data["kind"]
    mail["X-Expedite-Occasion"] = data["occasion"]
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    return mail


class Mailer:
    """Sends messages over SMTP. A refused recipient is given up, everything else is tried again."""

    def __init__(self, settings: NotifierSettings, status_link: Any, now: Any) -> None:
        self._settings, self._status_link, self._now = settings, status_link, now

    async def __call__(self, call: EffectCall) -> dict[str, Any]:
        data = dict(call.data)
        try:
            mail = compose(data, self._status_link(data["order_id"]), self._settings, self._now())
        except (ValueError, IndexError) as error:
            raise GaveUp(f"the address cannot be used: {error}") from error
        try:
            await aiosmtplib.send(
                mail,
                hostname=self._settings.smtp_host,
                port=self._settings.smtp_port,
                username=self._settings.smtp_user,
                password=self._settings.smtp_password,
                start_tls=self._settings.smtp_starttls,
                timeout=self._settings.smtp_timeout_s,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise GaveUp(f"recipient refused: {error}") from error
        except aiosmtplib.SMTPResponseException as error:
            if 500 <= error.code < 600:
                raise GaveUp(f"refused for good: {error.code} {error.message}") from error
            raise
        return {"message_id": data["message_id"]}
