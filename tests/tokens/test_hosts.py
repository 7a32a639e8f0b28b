"""A token belongs to the host that it came from, and is sent to no other."""

from contextlib import AsyncExitStack

import pytest
from constants import APPSECRET, AUTHORIZER, CLASSIC, MERCHANT, PLATFORM
from token_fixtures import Merchant, classic, open_api, stable, stored_key, wechat

from tcb_async import ConfigurationError
from tcb_async.tokens import MemoryStore
from tcb_async.tokens.refresh import make_host_key


@pytest.fixture
async def two_hosts():
    """Two hosts that both know the app and the platform; each refuses the tokens of the other."""
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(wechat()) for _ in range(2)]
        yield here, there


@pytest.mark.parametrize("is_forced", [False, True])
async def test_second_host_of_a_provider_is_refused(two_hosts, is_forced):
    here, there = two_hosts
    provider = stable(here)
    async with open_api(here) as api, open_api(there) as elsewhere:
        token = await provider.get_token(api)
        with pytest.raises(ConfigurationError, match="make a second provider for http://127"):
            await (provider.force_refresh if is_forced else provider.get_token)(elsewhere)

        assert await provider.get_token(api) == token
    assert there.requests == ()


async def test_clients_of_two_hosts_may_share_a_store(two_hosts):
    here, there = two_hosts
    store = MemoryStore()
    tokens = []
    for emulator in (here, there, here, there):
        async with open_api(emulator) as api:
            tokens.append((await classic(here, store).get_token(api)).reveal())

    assert tokens[:2] == tokens[2:]
    assert tokens[0] != tokens[1]
    assert (here.counts[CLASSIC], there.counts[CLASSIC]) == (1, 1)
    for emulator, token in zip(two_hosts, tokens, strict=False):
        assert (await store.get(stored_key(emulator))).token == token


async def test_rotated_refresh_token_stays_at_its_host(two_hosts):
    here, there = two_hosts
    merchant, store = Merchant(here), MemoryStore()
    there.add_component(PLATFORM, APPSECRET, ticket=merchant.ticket)
    there.add_authorizer(PLATFORM, MERCHANT, merchant.first)
    merchant.rotate()
    async with open_api(here) as api, open_api(there) as elsewhere:
        await merchant.shared_token(store).get_token(api)
        await merchant.shared_token(store).get_token(elsewhere)

    asked_with = [
        seen.body["authorizer_refresh_token"]
        for seen in there.requests
        if seen.path == AUTHORIZER and seen.body is not None
    ]
    assert asked_with == [merchant.first]
    assert merchant.saved == [merchant.accepted]


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://api.weixin.qq.com", "api.weixin.qq.com"),
        ("https://API.weixin.qq.com:443", "api.weixin.qq.com"),
        ("https://api2.weixin.qq.com", "api.weixin.qq.com"),
        ("https://sh.api.weixin.qq.com", "api.weixin.qq.com"),
        ("https://sz.api.weixin.qq.com", "api.weixin.qq.com"),
        ("https://hk.api.weixin.qq.com", "api.weixin.qq.com"),
        ("http://api.weixin.qq.com", "http://api.weixin.qq.com:80"),
        ("http://sh.api.weixin.qq.com", "http://sh.api.weixin.qq.com:80"),
        ("https://sh.api.weixin.qq.com:8443", "sh.api.weixin.qq.com:8443"),
        ("https://evil.api.weixin.qq.com", "evil.api.weixin.qq.com"),
        ("https://api.weixin.qq.com.evil.example", "api.weixin.qq.com.evil.example"),
        ("http://api.weixin.qq.com:443", "http://api.weixin.qq.com:443"),
        ("https://gateway.example:8443", "gateway.example:8443"),
        ("http://gateway.example:8443", "http://gateway.example:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://::1:8000"),
        ("https://gateway.example/wechat-a", "gateway.example/wechat-a"),
        ("https://gateway.example/{odd}", "gateway.example/%7Bodd%7D"),
    ],
)
def test_host_key_identifies_the_service(base_url, host):
    assert make_host_key(base_url) == host
