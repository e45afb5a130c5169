"""The routes of order-intake."""

from fastapi import APIRouter

from order_intake.api import bulk, changes, channels, orders, webhooks

router = APIRouter()
router.include_router(orders.router)
router.include_router(bulk.router)
router.include_router(changes.router)
router.include_router(webhooks.router)
router.include_router(channels.router)
