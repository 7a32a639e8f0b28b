"""docs/examples/ticket_callback.py: the platform uses the ticket that WeChat pushed last."""

from pathlib import Path
from runpy import run_path

import httpx2
import pytest
from constants import APPSECRET, PLATFORM
from redis.asyncio import Redis
from redis_server import running_redis
from token_fixtures import open_api, wechat

from tcb_async import TokenError
from tcb_async.tokens import ComponentToken

EXAMPLE = run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "ticket_callback.py"))
KEY = b"only WeChat and the platform know this"


def pushed(kind, ticket):
    return (
        f"<xml><AppId><![CDATA[{PLATFORM}]]></AppId><CreateTime>1413192605</CreateTime>"
        f"<InfoType><![CDATA[{kind}]]></InfoType>"
        f"<ComponentVerifyTicket><![CDATA[{ticket}]]></ComponentVerifyTicket></xml>"
    ).encode()


def decrypt(body, query):
    """Stands for WXBizMsgCrypt: it checks the sender, and opens it."""
    assert query["msg_signature"] == "right"
    assert body.startswith(KEY)
    return body.removeprefix(KEY)


async def push(app, xml):
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://platform") as wechat_side:
        return await wechat_side.post(
            "/wechat/authorisation", params={"msg_signature": "right"}, content=KEY + xml
        )


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_the_pushed_ticket_gets_the_platform_its_token(*, decode_responses):
    with running_redis() as server:
        async with (
            Redis(port=server.port, decode_responses=decode_responses) as redis,
            wechat() as emulator,
            open_api(emulator) as api,
        ):
            ticket = emulator.add_component(PLATFORM, APPSECRET)
            tickets = EXAMPLE["Tickets"](redis)
            app = EXAMPLE["callback_app"](tickets, decrypt)
            component = ComponentToken(
                PLATFORM, APPSECRET, ticket=tickets.of(PLATFORM), clock=emulator.clock
            )

            with pytest.raises(TokenError, match="has pushed no ticket yet"):
                await component.get_token(api)
            other = await push(app, pushed("authorized", "no-ticket"))
            answer = await push(app, pushed("component_verify_ticket", ticket))

            assert (other.text, answer.text) == ("success", "success")
            assert await component.get_token(api)
            assert 0 < await redis.ttl(f"tickets:{PLATFORM}") <= 12 * 3600
