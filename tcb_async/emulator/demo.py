"""Generated functions of the demo, and of thousands of merchants.

Rule: they are the same every time, dates included.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache

import attrs

from tcb_async.emulator.state import DeployedFunction

DEMO_ENV = "demo-3f6b2a"
DEMO_CREATED = "2023-03-06 09:30:00"
_FUNCTION_NAMES = (
    *("login", "getOpenId", "getPhoneNumber", "userProfile", "updateProfile", "checkSession"),
    *("bindMember", "createOrder", "cancelOrder", "queryOrder", "closeExpiredOrders", "payNotify"),
    *("refundNotify", "prepay", "refund", "couponList", "couponClaim", "couponRedeem"),
    *("pointsLedger", "pointsExchange", "cartSync", "addressBook", "goodsList", "goodsDetail"),
    *("goodsSearch", "goodsRecommend", "stockLock", "stockRelease", "priceCalc", "shopNearby"),
    *("reserveSlot", "queueTicket", "sendSubscribeMsg", "sendTemplateMsg", "customerService"),
    *("imageCheck", "textCheck", "uploadToken", "makePoster", "qrcodeGen", "dailyReport"),
    *("weeklyDigest", "dataExport", "cleanTempFiles", "syncErp", "syncWarehouse", "webhookRelay"),
    "healthProbe",
)
_RUNTIMES = ("Nodejs16.13", "Nodejs18.15", "Python3.10", "Php8.0", "Go1", "Nodejs8.9")
_WEIGHTS = (45, 28, 12, 6, 5, 4)
_UNUSUAL = {
    "goodsRecommend": "Updating",
    "makePoster": "UpdateFailed",
    "webhookRelay": "Creating",
    "syncErp": "CreateFailed",
    "weeklyDigest": "PublishFailed",
}
_MINUTES_A_STEP = 60 * 24 * 21


def make_demo_functions() -> Iterator[DeployedFunction]:
    """Make the 48 functions of the demo."""
    chance = random.Random(20230306)  # noqa: S311 - dates and runtimes, no secrets
    added = datetime.fromisoformat(DEMO_CREATED)
    for name in _FUNCTION_NAMES:
        added += timedelta(seconds=chance.randrange(60 * _MINUTES_A_STEP))
        modified = added + timedelta(seconds=chance.randrange(120 * 86_400))
        runtime = chance.choices(_RUNTIMES, _WEIGHTS)[0]
        status = _UNUSUAL.get(name, "Active")
        yield DeployedFunction(name, runtime, status, str(added), str(modified))


MAX_GENERATED = 400
"""Limit of the functions that are generated for one environment."""


@cache
def make_pool() -> tuple[DeployedFunction, ...]:
    """Make functions that all environments share, so that each environment costs little.

    Any ``MAX_GENERATED`` neighbours, from a start below ``MAX_GENERATED`` on, have different names.
    """
    functions = tuple(
        attrs.evolve(function, name=f"{function.name}{copy or ''}")
        for copy in range(MAX_GENERATED // len(_FUNCTION_NAMES) + 1)
        for function in make_demo_functions()
    )[:MAX_GENERATED]
    return functions * 2
