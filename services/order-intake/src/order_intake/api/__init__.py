"""The routes of order-intake."""

from fastapi import APIRouter

from order_intake.api import bulk, changes, channels, orders, webhooks

router = APIRouter()
for _part in (orders, bulk, changes, webhooks, channels):
    # Side by side, not router in router: every level would match each request once more.
    router.routes.extend(_part.router.routes)
