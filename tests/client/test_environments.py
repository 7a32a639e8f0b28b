"""What an account's environments are, as WeChat lists them."""

from __future__ import annotations

import pytest

from tcb_async import PermissionDeniedError, RetryPolicy, TcbClient


def client_of(emulator, token=None):
    token = emulator.token if token is None else token
    return TcbClient(token, base_url=emulator.url, retry=RetryPolicy(base=0.0))


async def test_environments_of_every_status_are_listed_in_the_servers_order(emulator):
    for status in ("UNAVAILABLE", "NORMAL", "HALTED"):
        emulator.add_environment(f"env-{status}", status=status)
    async with client_of(emulator) as client:
        environments = await client.list_environments()

    assert [(e.env, e.status) for e in environments] == [
        ("env-UNAVAILABLE", "UNAVAILABLE"),
        ("env-NORMAL", "NORMAL"),
        ("env-HALTED", "HALTED"),
    ]


async def test_an_account_may_have_none(emulator):
    async with client_of(emulator) as client:
        assert await client.list_environments() == ()


async def test_an_account_without_cloud_development_is_an_error_that_says_so(emulator):
    emulator.add_app("wxapp", "appsecret")
    emulator.fail_next(85088)
    async with client_of(emulator) as client:
        with pytest.raises(PermissionDeniedError, match="no cloud development") as caught:
            await client.list_environments()
    assert caught.value.errcode == 85088


async def test_a_busy_server_and_an_expired_token_are_retried(emulator):
    emulator.deploy("test-777bb9")

    async def token() -> str:
        return emulator.token

    emulator.fail_next(-1)
    emulator.fail_next(42001)
    async with client_of(emulator, token) as client:
        (environment,) = await client.list_environments()
    assert environment.env == "test-777bb9"
    assert [request.errcode for request in emulator.requests] == [-1, 42001, 0]
