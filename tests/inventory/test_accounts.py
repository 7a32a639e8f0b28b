"""Accounts and their listings: arguments, what a repr shows, and a platform's merchants."""

import pytest
from constants import APPID, PLATFORM
from merchants import Platform, found_in

from tcb_async import Account, ConfigurationError, TcbClient
from tcb_async.inventory import AccountListing, list_account, platform_accounts


class TestMerchantsOfAPlatform:
    async def test_rotated_refresh_tokens_are_saved(self, emulator):
        platform = Platform(emulator, 12, functions=5)
        rotated, hidden = platform.appids[3], platform.appids[5]
        emulator.rotate_refresh_token(PLATFORM, rotated)

        @emulator.on_reply
        def hide(_request, reply):
            for row in reply.get("list", ()):
                if row["authorizer_appid"] == hidden:
                    row.pop("refresh_token", None)

        saved = {}

        async def save(appid, refresh_token):
            saved[appid] = refresh_token

        async with platform.client() as client:
            found = await found_in(client, platform_accounts(client, on_rotate=save))

        assert set(found) == set(platform.appids)
        assert saved == {rotated: emulator.refresh_token(PLATFORM, rotated)}
        assert [one for one in found if found[one].status != "complete"] == [hidden]
        assert "shows no valid refresh token" in str(found[hidden].error)

    @pytest.mark.parametrize(
        ("field", "text", "appid"),
        [
            ("refresh_token", "", None),
            ("refresh_token", "a b", None),
            ("refresh_token", None, None),
            ("authorizer_appid", "", "wx-hidden-1"),
            ("authorizer_appid", None, "wx-hidden-1"),
        ],
    )
    async def test_a_bad_row_is_one_failed_account(self, emulator, field, text, appid):
        platform = Platform(emulator, 3, functions=5)

        @emulator.on_reply
        def spoil(_request, reply):
            for row in reply.get("list", ())[1:2]:
                row[field] = text

        async def save(appid, refresh_token):
            raise AssertionError

        async with platform.client() as client:
            found = await found_in(client, platform_accounts(client, on_rotate=save))

        failed = [one for one in found if found[one].status == "failed"]
        assert failed == [appid or platform.appids[1]]
        assert len(found) == 3

    async def test_an_app_has_none(self, emulator):
        async def save(appid, refresh_token):
            raise AssertionError

        async with TcbClient("a-token", base_url=emulator.url) as client:
            with pytest.raises(ConfigurationError, match="only a ComponentToken has merchants"):
                platform_accounts(client, on_rotate=save)

    async def test_a_callback_of_one_argument_is_refused(self, emulator):
        async def save(refresh_token):
            raise AssertionError

        async with Platform(emulator, 1).client() as client:
            with pytest.raises(ConfigurationError, match=r"on_rotate .* \(appid, refresh_token\)"):
                platform_accounts(client, on_rotate=save)
        assert sum(emulator.counts.values()) == 0


class TestArguments:
    async def test_other_objects_are_refused(self):
        async with TcbClient("unused-token") as client:
            accounts = iter([Account(APPID, "unused-token", envs=[]), "wx0123456789abcdef"])
            with pytest.raises(ConfigurationError, match=r"^accounts\[1\] .* must be an Account"):
                await found_in(client, accounts)  # type: ignore[arg-type]
            with pytest.raises(ConfigurationError, match="must be an Account"):
                await list_account(client, "wx0123456789abcdef")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("appid", "token", "envs", "wrong"),
        [
            ("", "a-token", None, "appid is empty"),
            (7, "a-token", None, "appid is of type int"),
            (APPID, "", None, "token is empty"),
            (APPID, 7, None, "token is of type int"),
            (APPID, "a-token", "test-1", "envs='test-1'"),
            (APPID, "a-token", 5, "envs=5: must be a list of environment ids"),
            (APPID, "a-token", [" "], "env=' '"),
        ],
    )
    def test_an_account_names_its_wrong_argument(self, appid, token, envs, wrong):
        with pytest.raises(ConfigurationError, match=wrong):
            Account(appid, token, envs)  # type: ignore[arg-type]

    def test_an_account_shows_no_token(self):
        secret = "planted-token-of-a-merchant-0123456789"
        assert secret not in repr(Account(APPID, secret)) + repr(
            AccountListing(Account(APPID, secret))
        )
        assert APPID in repr(Account(APPID, secret))

    async def test_the_reprs_tell_the_state(self, emulator):
        platform = Platform(emulator, 2, functions=5)
        good, bad = platform.appids
        emulator.remove_authorizer(PLATFORM, bad)
        async with platform.client() as client:
            found = await found_in(client, platform.accounts())
        assert repr(found[good]).endswith("complete: 5 functions in 1 environments>")
        assert f"{bad}, denied: " in repr(found[bad])
