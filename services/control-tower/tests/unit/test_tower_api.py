"""The control tower's HTTP interface, as nobody should use it."""

from __future__ import annotations

from typing import Any

import pytest

from control_tower.feed import Feed
from control_tower.main import spec
from expedite_chassis.testing import client


@pytest.mark.parametrize(
    "cursor", ["0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "\x00", "now", ""]
)
async def test_a_cursor_that_is_no_time_of_ours_resumes_from_now(tower: Any, cursor: str) -> None:
    """H1, I5: sums with a time at the end of the calendar would end the stream with an error of ours."""
    stream = Feed(tower.engine).listen(cursor)
    frame = await anext(stream)
    await stream.aclose()
    assert frame is not None and not frame.rows


@pytest.mark.parametrize("field", ["person_id", "password"])
@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"])
async def test_a_login_with_what_is_no_text_is_refused(tower: Any, field: str, text: str) -> None:
    """I5: anybody may try to log in; NUL reaches no database, half a surrogate pair no comparison."""
    body = '{"person_id": "operator", "password": "x", "%s": "%s"}' % (field, text)  # noqa: UP031
    async with client(spec, tower.engine, anonymous=True) as http:
        answer = await http.post("/api/login", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")


@pytest.mark.parametrize("path", ["/api/orders/" + "a" * 65, "/api/board?channel=%00", "/api/board?q=%00",
                                  "/api/stock?sku=" + "a" * 65, "/api/board?after=10001"])  # fmt: skip
async def test_what_is_looked_for_is_bounded(tower: Any, path: str) -> None:
    """H1: addresses and filters that nothing can match are refused."""
    async with client(spec, tower.engine, ["read"]) as http:
        assert (await http.get(path)).status_code == 422
