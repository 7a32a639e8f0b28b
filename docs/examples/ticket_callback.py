"""A FastAPI callback that receives WeChat's ticket, and a `ComponentToken` that uses it.

Every 10 minutes, WeChat pushes encrypted XML with a ``component_verify_ticket`` to the platform's
authorisation URL, and expects the reply ``success``. WeChat's own code (``WXBizMsgCrypt``) checks
the signature and decrypts: pass it as ``decrypt``. Store the ticket in Redis: WeChat pushes it to
one process, but any process may need it next.

To try it without an account, paste the lines that ``tcb-async emulator --merchants 1`` prints, set
``TCB_REDIS_URL``, and push the ticket yourself:

    uvicorn --factory ticket_callback:demo_app
    curl http://127.0.0.1:8000/wechat/authorisation -d "<xml><AppId>$TCB_COMPONENT_APPID</AppId>
    <InfoType>component_verify_ticket</InfoType>
    <ComponentVerifyTicket>$TCB_COMPONENT_TICKET</ComponentVerifyTicket></xml>"
    curl 'http://127.0.0.1:8000/count?env=test-777bb9'
"""

import os
from collections.abc import Awaitable, Callable
from xml.etree import ElementTree as ET

from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis

from tcb_async import TcbClient
from tcb_async.tokens import AuthorizerToken, ComponentToken

TICKET_TTL = 12 * 3600  # seconds, as long as WeChat accepts a ticket


class Tickets:
    """The latest ticket of each platform."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def save(self, component_appid: str, ticket: str) -> None:
        await self._redis.set(f"tcb-async:tickets:{component_appid}", ticket, ex=TICKET_TTL)

    def of(self, component_appid: str) -> Callable[[], Awaitable[str]]:
        """Return the callable for ``ComponentToken(…, ticket=…)``."""

        async def latest() -> str:
            ticket = await self._redis.get(f"tcb-async:tickets:{component_appid}")
            if ticket is None:
                raise LookupError("WeChat has pushed no ticket yet")
            return ticket if isinstance(ticket, str) else ticket.decode()

        return latest


def callback_app(tickets: Tickets, decrypt: Callable[[bytes, dict[str, str]], bytes]) -> FastAPI:
    """Make the application with the route that receives WeChat's pushes.

    Args:
        tickets: Stores the ticket.
        decrypt: Checks a push by its query (``msg_signature``, ``timestamp``, ``nonce``), and
            returns the decrypted XML; raises if the push is not WeChat's.
    """
    app = FastAPI()

    @app.post("/wechat/authorisation")
    async def receive_push(request: Request) -> Response:
        xml = decrypt(await request.body(), dict(request.query_params))
        event = ET.fromstring(xml)  # noqa: S314 - decrypt accepts only WeChat's pushes
        if event.findtext("InfoType") == "component_verify_ticket":
            ticket = event.findtext("ComponentVerifyTicket", "")
            await tickets.save(event.findtext("AppId", ""), ticket)
        return Response("success", media_type="text/plain")

    return app


def demo_app() -> FastAPI:
    """Receive pushes, and call for one merchant. Every push is trusted: for the emulator only."""
    appid = os.environ["TCB_COMPONENT_APPID"]
    redis = Redis.from_url(os.environ["TCB_REDIS_URL"])
    tickets = Tickets(redis)
    merchant_appid = os.environ["TCB_AUTHORIZER_APPID"]
    app = callback_app(tickets, decrypt=lambda body, _query: body)

    key = f"refresh_tokens:{appid}:{merchant_appid}"

    async def load() -> str:
        saved = await redis.get(key)
        if saved is None:
            return os.environ["TCB_AUTHORIZER_REFRESH_TOKEN"]
        return saved if isinstance(saved, str) else saved.decode()

    async def save(refresh_token: str) -> None:
        await redis.set(key, refresh_token)

    platform = ComponentToken(appid, os.environ["TCB_COMPONENT_SECRET"], ticket=tickets.of(appid))
    merchant = AuthorizerToken(platform, merchant_appid, load, on_rotate=save)

    @app.get("/count")
    async def count(env: str) -> int:
        async with TcbClient.from_env(token=merchant) as client:
            return (await client.function_page(env)).total

    return app
