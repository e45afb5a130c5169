"""The scanner page: one page for phones, served without a key; the key is asked for once and stays in the tab."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from fulfillment.domain.tasks import Kind

router = APIRouter()

_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
_KINDS = {
    Kind.PICK: "Pick",
    Kind.TRANSFER_OUT: "Send to another warehouse",
    Kind.TRANSFER_IN: "Receive from another warehouse",
    Kind.PUT_BACK: "Put back",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@router.get("/scanner", response_class=HTMLResponse, include_in_schema=False)
async def scanner() -> HTMLResponse:
    """The page warehouse staff open on a phone (E2)."""
    kinds = [(kind.value, label) for kind, label in _KINDS.items()]
    html = _TEMPLATES.get_template("scanner.html").render(kinds=kinds)
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY})
