"""The customer's signed status page, and the log of messages for the staff."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse

from expedite_chassis import Caller, EngineDep, Problem, RuntimeDep, links, require
from expedite_events import plain
from expedite_messaging import Tx
from notifier.domain.page import status_page
from notifier.settings import settings
from notifier.store import MESSAGES, ORDERS, of_order
from notifier.wording import LOCALES, environment, local_date

router = APIRouter()
Reader = Annotated[Caller, Depends(require("read"))]
Writer = Annotated[Caller, Depends(require("orders:write"))]
OrderPath = Annotated[str, Path(min_length=1, max_length=64)]
DEEPEST = 1_000_000_000  # messages a list goes: beyond it the database has no number for the place

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Your order", "received": "Received", "checked": "Checked", "reserved": "Goods set aside",
        "shipped": "On its way", "delivered": "Delivered", "promise": "Promised by", "parcel": "Parcel",
        "expected": "expected by", "delayed": "Delayed", "lost": "Lost: a new parcel follows",
        "returned": "Came back to us: a new parcel follows", "track": "Follow the parcel", "items": "What you ordered",
        "cancelled_units": "pieces cancelled", "waiting": "pieces wait for new stock, expected by",
        "help": "We need your help", "due": "Please answer by", "send": "Send", "confirm": "Everything arrived",
        "ended_closed": "This order is complete. Thank you.", "ended_cancelled": "This order is cancelled.",
        "line1": "Street and number", "city": "City", "postcode": "Postcode", "region": "Region", "country": "Country (two letters)",
        "name": "Name", "email": "E-mail", "phone": "Phone", "thanks": "Thank you. This page shows it in a moment.",
        "failed": "That did not work:", "reference": "Order",
    },
    "zh": {
        "title": "您的订单", "received": "已收到", "checked": "审核通过", "reserved": "已锁定库存", "shipped": "运输中",
        "delivered": "已送达", "promise": "承诺送达时间", "parcel": "包裹", "expected": "预计送达", "delayed": "延误",
        "lost": "包裹丢失,正在重新发货", "returned": "包裹退回,正在重新发货", "track": "查看物流", "items": "订购商品",
        "cancelled_units": "件已取消", "waiting": "件等待到货,预计", "help": "待补充信息", "due": "请在此时间前补充",
        "send": "提交", "confirm": "确认收货", "ended_closed": "订单已完成,感谢您的惠顾。", "ended_cancelled": "订单已取消。",
        "line1": "街道门牌", "city": "城市", "postcode": "邮编", "region": "省/州", "country": "国家(两位代码)", "name": "姓名",
        "email": "邮箱", "phone": "电话", "thanks": "谢谢,页面稍后更新。", "failed": "提交失败:", "reference": "订单",
    },
}  # fmt: skip


@router.get("/s/{token}", response_class=HTMLResponse, include_in_schema=False)
async def status(
    token: str, request: Request, engine: EngineDep, runtime: RuntimeDep, lang: str | None = None
) -> HTMLResponse:
    """The status page behind a signed link: no login, one order (G3)."""
    secret = str(runtime.secrets.get("link_secret", ""))
    order_id = links.verify(secret, "status", token)
    if order_id is None:
        raise Problem(
            404, "unknown-link", "This link is not valid", detail="Use the link of the newest message about your order."
        )

    async def load(tx: Any) -> Any:
        return (await tx.load(ORDERS, [order_id])).get(order_id)

    order = await engine.read(load)
    if order is None:
        raise Problem(
            404,
            "unknown-order",
            "This order is not known yet",
            detail="It may take a moment after ordering; reload the page.",
        )
    language = lang if lang in LOCALES else order.language
    html = environment.get_template("pages/status.html").render(
        page=status_page(order), w=WORDS[language], language=language, languages=list(LOCALES),
        date=lambda value: local_date(value.isoformat() if value else "", language),
        intake=runtime.urls.get("order-intake", ""),
        confirm_token=links.sign(secret, "confirm", order_id), complete_token=links.sign(secret, "complete", order_id),
    )  # fmt: skip
    policy = f"default-src 'self'; connect-src 'self' {runtime.urls.get('order-intake', '')}; frame-ancestors 'none'"
    return HTMLResponse(
        html, headers={"content-security-policy": policy, "referrer-policy": "no-referrer", "cache-control": "no-store"}
    )


@router.get("/messages")
async def messages(
    engine: EngineDep,
    caller: Reader,
    order_id: Annotated[str | None, Query(max_length=64)] = None,
    state: Annotated[str | None, Query(alias="status", pattern="^(queued|sent|failed)$")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: Annotated[int, Query(ge=0, le=DEEPEST, description="offset to go on from")] = 0,
) -> dict[str, Any]:
    """Messages, newest first: what was said to whom, when, and whether it left."""
    where: dict[str, str] = of_order(order_id) if order_id else {}
    if state:
        where["status"] = state
    found = await engine.read(
        lambda tx: tx.find(MESSAGES, where, order_by=("-decided_at",), limit=limit + 1, offset=after)
    )
    return {
        "items": [{name: value for name, value in plain(m).items() if name != "facts"} for m in found[:limit]],
        "next": after + limit if len(found) > limit else None,
    }


@router.get("/messages/queue")
async def queue(engine: EngineDep, caller: Reader) -> dict[str, Any]:
    """What waits to be sent: how many, since when the longest, how many were refused for good, and the pace."""

    async def look(tx: Tx) -> dict[str, Any]:
        oldest = await tx.find(MESSAGES, {"status": "queued"}, order_by=("decided_at",), limit=1)
        return {
            "waiting": await tx.count(MESSAGES, {"status": "queued"}),
            "oldest_decided_at": oldest[0].decided_at if oldest else None,
            "failed": await tx.count(MESSAGES, {"status": "failed"}),
            "mails_per_s": settings.mails_per_s or None,
        }

    return await engine.read(look)


@router.get("/orders/{order_id}/status-link")
async def status_link(order_id: OrderPath, runtime: RuntimeDep, caller: Writer) -> dict[str, str]:
    """The signed link to an order's status page, to give to its customer. Whoever holds it may answer and confirm for the
    customer: it takes the scope orders:write."""
    return {"url": link_to(runtime.urls.get("notifier", ""), str(runtime.secrets.get("link_secret", "")), order_id)}


def link_to(base: str, secret: str, order_id: str) -> str:
    """The signed address of an order's status page."""
    return f"{base.rstrip('/')}/s/{links.sign(secret, 'status', order_id)}"
