"""Texts that try to become markup, script, another header, another log line or a formula, and a page that notices."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page

MARKUP = (
    '<img src=x data-xss onerror="__ran(1)">',
    '"><script data-xss>__ran(2)</script>',
    "'><svg/onload=__ran(3) data-xss>",
    "</title></style></textarea><script data-xss>__ran(4)</script>",
    '<a href="javascript:__ran(5)" data-xss>here</a>',
    "&lt;img src=x data-xss onerror=__ran(6)&gt;",
    "{{__ran(7)}}${__ran(7)}#{__ran(7)}<%=__ran(7)%>",
    '" autofocus onfocus=__ran(8) data-xss x="',
    "<iframe srcdoc='<script>parent.__ran(9)</script>' data-xss></iframe>",
    "<!--><base href=//evil.example data-xss>",
)
LINES = (
    "calm\r\nX-Injected: yes", "calm\nBcc: victim@evil.example", "calm\r\n\r\n<h1>other</h1>",
    '"}\n{"level": "critical", "event": "forged"}', "\x1b[2J\x1b]0;owned\x07", "a\x00b", "right\u202eleft", "\u2028line\u2029par",
    "%0d%0aX-Injected:%20yes", "%s%s%n {0} {event} $(id) `id`",
)  # fmt: skip
FORMULAS = (
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    '=HYPERLINK("http://evil.example","x")',
    "=cmd|' /C calc'!A0",
)

_WATCH = """
window.__seen = [];
window.__ran = (n) => { window.__seen.push("ran " + n); };
document.addEventListener("securitypolicyviolation", (e) => { window.__seen.push("blocked " + e.violatedDirective + " " + e.sample); });
"""


@dataclass
class Watched:
    """A page and what happened on it that should not have."""

    page: Page
    seen: list[str] = field(default_factory=list)

    def harmless(self, *texts: str) -> None:
        """Assert that nothing ran or tried to, no text became an element, and that each text is there to be read."""
        self.page.wait_for_timeout(200)
        assert self.page.evaluate("window.__seen") == []
        assert self.seen == []
        assert self.page.locator("[data-xss]").count() == 0
        shown = " ".join(self.page.evaluate("document.body.innerText").split())
        for text in texts:
            assert " ".join(text.split()).casefold() in shown.casefold(), f"{text!r} is not shown as text"


def watched(browser: Browser, width: int = 1400, height: int = 1000) -> Watched:
    """A new page that notices scripts, blocked scripts, dialogs, and requests to anywhere else."""
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    found = Watched(page)
    page.add_init_script(_WATCH)
    page.on("dialog", lambda dialog: (found.seen.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("pageerror", lambda error: found.seen.append(f"error {error}"))
    page.on("request", lambda request: "evil.example" in request.url and found.seen.append(request.url))
    return found
