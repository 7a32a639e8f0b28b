"""The environments of an account, as WeChat lists them."""

from __future__ import annotations

import pytest

from tcb_async import PermissionDeniedError


async def test_environments_of_every_status_are_listed_in_the_servers_order(emulator, client):
    """A busy server is asked again."""
    statuses = ["UNAVAILABLE", "NORMAL", "HALTED"]
    for status in statuses:
        emulator.add_environment(f"env-{status}", status=status)
    emulator.fail_next(-1)

    environments = await client.list_environments()

    assert [(e.env, e.status) for e in environments] == [(f"env-{it}", it) for it in statuses]
    assert [request.errcode for request in emulator.requests] == [-1, 0]


async def test_an_account_without_cloud_development_is_an_error_that_says_so(emulator, client):
    emulator.fail_next(85088)
    with pytest.raises(PermissionDeniedError, match="no cloud development") as caught:
        await client.list_environments()
    assert caught.value.errcode == 85088
