"""What a message says: its template in its language, and dates as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import babel.dates
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup, escape

HERE = Path(__file__).parent
environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(("html",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,  # else every message looks at the file's time
)
LOCALES = {"en": "en_GB", "zh": "zh_Hans_CN"}
_URL = re.compile(r"https?://[^\s<>\"']+(?<![.,:;!?)\]])")


@lru_cache(maxsize=128)
def _template(name: str) -> Template:
    """A template with its globals in one dict: jinja looks through a chain of them, entry by entry, for every message."""
    found = environment.get_template(name)
    found.globals = dict(found.globals)
    return found


@lru_cache(maxsize=2048)
def _day(day: date, language: str) -> str:
    # Names of days and months are slow to find, and all messages of a day ask for the same few.
    return babel.dates.format_date(day, "EEEE d MMMM" if language == "en" else "M月d日EEEE", locale=LOCALES[language])


def local_date(value: str, language: str) -> str:
    """An ISO moment as people read it, with the weekday; times are UTC and say so."""
    if not value:
        return "—"
    at = datetime.fromisoformat(value).astimezone(UTC)
    return f"{_day(at.date(), language)}{',' if language == 'en' else ''} {at:%H:%M} UTC"


def linked(paragraph: str) -> Markup:
    """Plain text as HTML, its addresses as links."""
    # What escaping adds to an address (&amp;) is how an address is written in an attribute.
    return Markup(_URL.sub(r'<a href="\g<0>" rel="noopener">\g<0></a>', str(escape(paragraph))))


def render(order_id: str, data: Mapping[str, Any], status_url: str) -> tuple[str, str, str]:
    """(subject, text, HTML) of a message in its language. The first line of a template is the subject."""
    language = data["language"]
    context = {
        **data,
        **data["facts"],
        "order_id": order_id,
        "status_url": status_url,
        "date": lambda value: local_date(value, language),
    }
    text = _template(f"{language}/{data['kind']}.txt").render(context)
    subject, _, body = text.partition("\n")
    body = body.strip()
    html = _template("email.html").render(
        subject=subject, paragraphs=[linked(part) for part in body.split("\n\n")], language=language,
        status_url=status_url, audience=data["audience"],
    )  # fmt: skip
    return subject.strip(), body, html
