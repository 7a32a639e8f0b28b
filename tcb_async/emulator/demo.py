"""The functions of the demonstration. Rule: the same every time, dates included."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Protocol

DEMO_ENV = "demo-3f6b2a"
DEMO_CREATED = "2023-03-06 09:30:00"
_NAMES = [
    "login",
    "getOpenId",
    "getPhoneNumber",
    "userProfile",
    "updateProfile",
    "checkSession",
    "bindMember",
    "createOrder",
    "cancelOrder",
    "queryOrder",
    "closeExpiredOrders",
    "payNotify",
    "refundNotify",
    "prepay",
    "refund",
    "couponList",
    "couponClaim",
    "couponRedeem",
    "pointsLedger",
    "pointsExchange",
    "cartSync",
    "addressBook",
    "goodsList",
    "goodsDetail",
    "goodsSearch",
    "goodsRecommend",
    "stockLock",
    "stockRelease",
    "priceCalc",
    "shopNearby",
    "reserveSlot",
    "queueTicket",
    "sendSubscribeMsg",
    "sendTemplateMsg",
    "customerService",
    "imageCheck",
    "textCheck",
    "uploadToken",
    "makePoster",
    "qrcodeGen",
    "dailyReport",
    "weeklyDigest",
    "dataExport",
    "cleanTempFiles",
    "syncErp",
    "syncWarehouse",
    "webhookRelay",
    "healthProbe",
]
_RUNTIMES = (
    "Nodejs16.13",
    "Nodejs18.15",
    "Python3.10",
    "Php8.0",
    "Go1",
    "Nodejs8.9",
)
_WEIGHTS = (45, 28, 12, 6, 5, 4)
_UNUSUAL = {
    "goodsRecommend": "Updating",
    "makePoster": "UpdateFailed",
    "webhookRelay": "Creating",
    "syncErp": "CreateFailed",
    "weeklyDigest": "PublishFailed",
}
_FIRST_DAY = datetime.fromisoformat(DEMO_CREATED)
_MINUTES_A_STEP = 60 * 24 * 21


class Deploy(Protocol):
    """The part of ``Emulator.deploy`` that the demonstration needs."""

    def __call__(  # noqa: PLR0913 - the fields of a row
        self, env: str, name: str, *, runtime: str, status: str, add_time: str, mod_time: str
    ) -> object:
        """Deploy one function."""
        ...


def deploy_demo(deploy: Deploy) -> None:
    """Deploy the demonstration's functions to ``DEMO_ENV``, with ``Emulator.deploy``."""
    chance = random.Random(20230306)  # noqa: S311 - dates and runtimes, no secrets
    added = _FIRST_DAY
    for name in _NAMES:
        added += timedelta(seconds=chance.randrange(60 * _MINUTES_A_STEP))
        modified = added + timedelta(seconds=chance.randrange(120 * 86_400))
        deploy(
            DEMO_ENV,
            name,
            runtime=chance.choices(_RUNTIMES, _WEIGHTS)[0],
            status=_UNUSUAL.get(name, "Active"),
            add_time=str(added),
            mod_time=str(modified),
        )
