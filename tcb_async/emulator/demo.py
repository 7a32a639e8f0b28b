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
    "login", "getOpenId", "getPhoneNumber", "userProfile", "updateProfile", "checkSession",
    "bindMember", "createOrder", "cancelOrder", "queryOrder", "closeExpiredOrders", "payNotify",
    "refundNotify", "prepay", "refund", "couponList", "couponClaim", "couponRedeem",
    "pointsLedger", "pointsExchange", "cartSync", "addressBook", "goodsList", "goodsDetail",
    "goodsSearch", "goodsRecommend", "stockLock", "stockRelease", "priceCalc", "shopNearby",
    "reserveSlot", "queueTicket", "sendSubscribeMsg", "sendTemplateMsg", "customerService",
    "imageCheck", "textCheck", "uploadToken", "makePoster", "qrcodeGen", "dailyReport",
    "weeklyDigest", "dataExport", "cleanTempFiles", "syncErp", "syncWarehouse", "webhookRelay",
    "healthProbe",
)  # fmt: skip
_RUNTIMES = ("Nodejs16.13", "Nodejs18.15", "Python3.10", "Php8.0", "Go1", "Nodejs8.9")
_RUNTIME_WEIGHTS = (45, 28, 12, 6, 5, 4)
_UNUSUAL_STATUSES = {
    "goodsRecommend": "Updating",
    "makePoster": "UpdateFailed",
    "webhookRelay": "Creating",
    "syncErp": "CreateFailed",
    "weeklyDigest": "PublishFailed",
}
_DAY = 86_400  # seconds


def make_demo_functions() -> Iterator[DeployedFunction]:
    """Make the 48 functions of the demo."""
    chance = random.Random(20230306)  # noqa: S311 - dates and runtimes, no secrets
    added = datetime.fromisoformat(DEMO_CREATED)
    for name in _FUNCTION_NAMES:
        added += timedelta(seconds=chance.randrange(21 * _DAY))
        modified = added + timedelta(seconds=chance.randrange(120 * _DAY))
        runtime = chance.choices(_RUNTIMES, _RUNTIME_WEIGHTS)[0]
        status = _UNUSUAL_STATUSES.get(name, "Active")
        yield DeployedFunction(name, runtime, status, str(added), str(modified))


MAX_GENERATED = 400
"""Limit of the functions that are generated for one environment."""


@cache
def make_pool() -> tuple[DeployedFunction, ...]:
    """Make functions that all generated environments share, so that each costs little memory.

    Each is there twice: any ``MAX_GENERATED`` consecutive ones have different names.
    """
    functions: list[DeployedFunction] = []
    for copy in range(MAX_GENERATED // len(_FUNCTION_NAMES) + 1):
        suffix = str(copy) if copy else ""
        functions += (attrs.evolve(each, name=each.name + suffix) for each in make_demo_functions())
    return tuple(functions[:MAX_GENERATED]) * 2
