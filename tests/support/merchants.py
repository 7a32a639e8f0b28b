"""A platform with merchants, as the tests of inventories need it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs

from tcb_async import (
    Account,
    DailyQuotaError,
    ParameterError,
    PermissionDeniedError,
    ResponseError,
    TcbClient,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.emulator import Fault
from tcb_async.tokens import AuthorizerToken, ComponentToken

PLATFORM, PLATFORM_SECRET = "wxplatform000000001", "planted-appsecret-0123456789abcdef"
PLATFORM_TOKEN = "/cgi-bin/component/api_component_token"
MERCHANT_TOKEN = "/cgi-bin/component/api_authorizer_token"
ENVIRONMENTS = "/tcb/getenvinfo"
LIST = "/tcb/listfunctions"


class Platform:
    """A platform on an emulator.

    Attributes:
        appids: Of its merchants.
        rotated: What `on_rotate` was given.
    """

    def __init__(self, emulator, merchants=0, *, environments=1, functions=50):
        self.emulator = emulator
        self.ticket = emulator.add_component(PLATFORM, PLATFORM_SECRET)
        self.appids = list(
            emulator.add_merchants(
                PLATFORM, merchants, environments=environments, functions=functions
            )
        )
        self.rotated = []
        self.asked_for = 0

    def token(self):
        async def ticket():
            return self.ticket

        return ComponentToken(PLATFORM, PLATFORM_SECRET, ticket=ticket)

    def client(self, *, concurrency=8, retry=None, observer=None):
        self.component = self.token()
        options = {} if retry is None else {"retry": retry}
        return TcbClient(
            self.component,
            base_url=self.emulator.url,
            concurrency=concurrency,
            observer=observer,
            **options,
        )

    def account(self, appid):
        async def on_rotate(refresh_token):
            self.rotated.append(refresh_token)

        refresh_token = (
            self.emulator.refresh_token(PLATFORM, appid)
            if appid in self.emulator.authorizers(PLATFORM)
            else "refreshtoken-of-nobody"
        )
        token = AuthorizerToken(self.component, appid, refresh_token, on_rotate=on_rotate)
        return Account(appid, token)

    def accounts(self):
        for appid in self.appids:
            self.asked_for += 1
            yield self.account(appid)

    def deployed(self, appid):
        """What WeChat has of a merchant."""
        return {
            info.env: {
                (row.name, row.status, row.runtime) for row in self.emulator.functions(info.env)
            }
            for info in self.emulator.environments(appid)
        }


def as_deployed(functions):
    """What an inventory found, to be compared with what is deployed."""
    return {
        env: {(function.name, function.status, function.runtime) for function in found}
        for env, found in functions.items()
    }


def takes_back(platform, appid):
    platform.emulator.remove_authorizer(PLATFORM, appid)


def grants_too_little(platform, appid):
    same = platform.emulator.refresh_token(PLATFORM, appid)
    platform.emulator.add_authorizer(PLATFORM, appid, same, permission_sets=[18])


def is_suspended(platform, appid):
    (info,) = platform.emulator.environments(appid)
    platform.emulator.update_environment(info.env, status="HALTED")


def always(fault, path=LIST):
    def breaks(platform, appid):
        platform.emulator.script(itertools.repeat(fault), path=path, account=appid)

    return breaks


def forever(errcode, path=LIST):
    return always(Fault.errcode(errcode), path)


@attrs.frozen
class Way:
    """A way in which an account breaks, and what is then said of it."""

    name: str
    breaks: Callable[[Platform, str], None]
    error: type[TcbError]
    errcode: int | None
    status: str


BROKEN = (
    Way("takes its authorisation back", takes_back, PermissionDeniedError, 61003, "denied"),
    Way("grants too few permissions", grants_too_little, PermissionDeniedError, 61007, "denied"),
    Way("may not call this", forever(48001), PermissionDeniedError, 48001, "denied"),
    Way("has another refresh token", forever(61023, MERCHANT_TOKEN), TokenError, 61023, "failed"),
    Way("has an appid that is none", forever(40013, MERCHANT_TOKEN), TokenError, 40013, "failed"),
    Way("is suspended", is_suspended, PermissionDeniedError, -501005, "failed"),
    Way("is over its quota", forever(45009), DailyQuotaError, 45009, "failed"),
    Way("has a token that is refused", forever(40001), TokenError, 40001, "failed"),
    Way("has an environment that is gone", forever(-501000), ParameterError, -501000, "failed"),
    Way("is busy", forever(-1), TcbError, -1, "failed"),
    Way(
        "is answered by a page of HTML",
        always(Fault.body(b"<html>")),
        ResponseError,
        None,
        "failed",
    ),
    Way("is reset", always(Fault.reset()), TransportError, None, "failed"),
    Way("is redirected", always(Fault.redirect("https://x/")), ResponseError, None, "failed"),
    Way("has no list of environments", forever(-1, ENVIRONMENTS), TcbError, -1, "failed"),
)
"""Ways in which an account breaks, and no other with it."""
