"""Secrets as long as WeChat's, a server that returns them, and clients that use them."""

import asyncio
import json
import random
import string

from constants import (
    APPID,
    AUTHORIZER,
    CLASSIC,
    COMPONENT,
    ENV,
    ENVIRONMENTS,
    LIST,
    PLATFORM,
    STABLE,
)
from raw_server import http_reply
from server_faults import LISTING

from tcb_async import RetryPolicy, TcbClient
from tcb_async.tokens import AuthorizerToken, ClassicToken, ComponentToken, StableToken

LENGTHS = {
    "token of 136": 136,
    "token of 512": 512,
    "ticket": 88,
    "refresh token": 64,
    "rotated refresh token": 64,
    "untold": 64,
}


def make_texts():
    chance = random.Random(20)
    letters = f"{string.ascii_letters}{string.digits}_-"
    texts = {name: "".join(chance.choices(letters, k=length)) for name, length in LENGTHS.items()}
    return {**texts, "appsecret": "".join(chance.choices("0123456789abcdef", k=32))}


TEXTS = make_texts()
"""The secrets by name."""


def right_replies():
    token = TEXTS["token of 512"]
    refresh = TEXTS["rotated refresh token"]
    return {
        LIST: http_reply({"refresh_token": refresh, **json.loads(LISTING)}),  # for `client.call`
        ENVIRONMENTS: http_reply({"errcode": 0, "info_list": [{"env": ENV, "status": "NORMAL"}]}),
        STABLE: http_reply({"access_token": token, "expires_in": 7200}),
        CLASSIC: http_reply({"access_token": token, "expires_in": 7200}),
        COMPONENT: http_reply({"component_access_token": token, "expires_in": 7200}),
        AUTHORIZER: http_reply(
            {
                "authorizer_access_token": token,
                "expires_in": 7200,
                "authorizer_refresh_token": refresh,
            }
        ),
    }


def wechat(path="", fault=b""):
    """All is well, but for one endpoint."""

    async def handle(exchange):
        asked = exchange.request.target.partition("?")[0]
        await exchange.answer(fault if asked == path else right_replies()[asked])

    return handle


async def hand_out():
    return TEXTS["token of 136"]


async def newest_ticket():
    return TEXTS["ticket"]


async def save(_refresh_token):
    await asyncio.sleep(0)


def platform(store):
    return ComponentToken(PLATFORM, TEXTS["appsecret"], ticket=newest_ticket, store=store)


def merchant(store):
    refresh_token = TEXTS["refresh token"]
    return AuthorizerToken(platform(store), APPID, refresh_token, on_rotate=save)


KINDS = {
    "token of 136": (LIST, lambda _: TEXTS["token of 136"]),
    "token of 512": (LIST, lambda _: TEXTS["token of 512"]),
    "callable": (LIST, lambda _: hand_out),
    "stable": (STABLE, lambda _: StableToken(APPID, TEXTS["appsecret"])),
    "classic": (
        CLASSIC,
        lambda store: ClassicToken(APPID, TEXTS["appsecret"], store=store),
    ),
    "component": (COMPONENT, platform),
    "authorizer": (AUTHORIZER, merchant),
}
"""The provider of the credentials, and the first endpoint that receives them."""


def client_of(kind, url, *, patience=10.0, store=None, **options):
    return TcbClient(
        KINDS[kind][1](store),
        base_url=url,
        retry=RetryPolicy(attempts=2, base=0.0, deadline=3 * patience),
        timeout=patience,
        **options,
    )
