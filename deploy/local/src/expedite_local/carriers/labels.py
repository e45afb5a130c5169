"""Labels as a carrier sells them: ZPL for label printers and a 4 × 6 inch PDF, both with the tracking number as Code 128."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import Any

import zxingcpp
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas

FORMATS = ("zpl", "pdf")
WIDTH_MM, HEIGHT_MM = 101.6, 152.4
MODULE_MM, BAR_MM, BAR_TOP_MM = 0.38, 26.0, 92.0


def make(carrier: str, service: str, number: str, lines: list[str], formats: Sequence[str]) -> dict[str, str]:
    """One label in the formats that are wanted: `zpl`, and `pdf` as `pdf_base64`."""
    made = {}
    if "zpl" in formats:
        made["zpl"] = zpl(carrier, service, number, lines)
    if "pdf" in formats:
        made["pdf_base64"] = base64.b64encode(pdf(carrier, service, number, lines)).decode()
    return made


def address_lines(ask: Mapping[str, Any]) -> list[str]:
    """The recipient as printed."""
    to, who = ask.get("to") or {}, ask.get("recipient") or {}
    town = " ".join([str(part) for part in (to.get("postcode"), to.get("city")) if part])
    parts = [
        who.get("company"),
        who.get("name"),
        to.get("line1"),
        to.get("line2"),
        town,
        to.get("region"),
        to.get("country"),
    ]
    return [str(part) for part in parts if part]


def bars(number: str) -> list[tuple[int, int]]:
    """The dark bars of the Code 128 symbol: (first module, width in modules)."""
    symbol = zxingcpp.create_barcode(number, zxingcpp.BarcodeFormat.Code128)
    image: Any = symbol.to_image(scale=1, add_quiet_zones=False, add_hrt=False)
    pixels, width = memoryview(image), image.shape[1]
    row = [pixels[0, x] == 0 for x in range(width)]
    found, start = [], None
    for x, dark in enumerate([*row, False]):
        if dark and start is None:
            start = x
        elif not dark and start is not None:
            found.append((start, x - start))
            start = None
    return found


def pdf(carrier: str, service: str, number: str, lines: list[str]) -> bytes:
    """One page; the bars are drawn as shapes, so they are sharp at any resolution."""
    written = BytesIO()
    page = Canvas(written, pagesize=(WIDTH_MM * mm, HEIGHT_MM * mm), invariant=True)

    def text(font: str, size: int, x_mm: float, y_mm: float, words: str) -> None:
        page.setFont(font, size)
        page.drawString(x_mm * mm, (HEIGHT_MM - y_mm) * mm, _latin(words))

    text("Helvetica-Bold", 16, 6, 14, carrier)
    text("Helvetica-Bold", 16, 6, 23, service)
    for index, line in enumerate(lines[:8]):
        text("Helvetica", 12, 6, 38 + index * 6, line[:48])
    symbol = bars(number)
    total = (symbol[-1][0] + symbol[-1][1]) * MODULE_MM
    left = (WIDTH_MM - total) / 2
    for start, width in symbol:
        x, y = (left + start * MODULE_MM) * mm, (HEIGHT_MM - BAR_TOP_MM - BAR_MM) * mm
        page.rect(x, y, width * MODULE_MM * mm, BAR_MM * mm, stroke=0, fill=1)
    text("Courier-Bold", 14, left, BAR_TOP_MM + BAR_MM + 8, number)
    page.showPage()
    page.save()
    return written.getvalue()


def zpl(carrier: str, service: str, number: str, lines: list[str]) -> str:
    """The same for a 203 dpi label printer, in UTF-8."""
    shown = [_escape(line[:60]) for line in lines[:8]]
    return _form(carrier, service, len(shown)) % (*shown, number)


@cache
def _form(carrier: str, service: str, count: int) -> str:
    """The label of a service with places for so many lines and the number."""
    names = [_escape(name).replace("%", "%%") for name in (carrier, service)]
    fields = [f"^FO40,60^A0N,44,44^FH^FD{names[0]}^FS", f"^FO40,120^A0N,36,36^FH^FD{names[1]}^FS"]
    fields += [f"^FO40,{200 + i * 40}^A0N,30,30^FH^FD%s^FS" for i in range(count)]
    fields.append("^FO60,700^BY3^BCN,200,Y,N,N^FD%s^FS")
    return "\n".join(["^XA", "^CI28", "^PW812", "^LL1218", *fields, "^XZ"])


def _escape(text: str) -> str:
    # ^ and ~ begin commands, _ begins an escape of ^FH: whoever writes them in an address must not program the printer.
    return text.replace("_", "_5F").replace("^", "_5E").replace("~", "_7E").replace("\n", " ")


def _latin(text: str) -> str:
    # The PDF's built-in fonts know Latin-1 only; the ZPL label carries the full text.
    return text.encode("latin-1", "replace").decode("latin-1")
