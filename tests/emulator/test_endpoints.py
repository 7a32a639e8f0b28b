"""The emulator's platforms, merchants and environments reply as WeChat's do."""

import json
from pathlib import Path

import pytest
from constants import (
    APPSECRET,
    BATCH_ENVIRONMENTS,
    BATCH_FUNCTIONS,
    CLASSIC,
    COMPONENT,
    ENVIRONMENTS,
    LIST,
    MERCHANT,
    MERCHANTS,
    PLATFORM,
)
from emulator_client import TICKET, asking
from hand_clock import HandClock

from tcb_async.emulator import Emulator, Fault

SAMPLES = Path(__file__).parents[1] / "samples"
BAKERY = "wxbakery"
OWN_ENV = "own-1"
APRIL_2019 = 1_554_358_228.0  # 2019-04-04 14:10:28 in China


def in_order(text):
    """Decode JSON so that the order of keys counts."""
    return json.loads(text, object_pairs_hook=list)


@pytest.fixture
async def wechat():
    async with asking(Emulator(clock=HandClock(APRIL_2019))) as asker:
        asker.emulator.add_component(PLATFORM, APPSECRET, TICKET)
        yield asker


class TestMerchants:
    @pytest.mark.parametrize("name", ["access_token", "component_access_token"])
    async def test_documented_request_gets_the_documented_reply(self, wechat, name):
        emulator = wechat.emulator
        emulator.clock.advance(1_558_000_607 - APRIL_2019)
        emulator.add_component("appid_value", APPSECRET, TICKET)
        for number in range(1, 34):
            emulator.add_authorizer(
                "appid_value", f"authorizer_appid_{number}", f"refresh_token_{number}"
            )
        granted = await wechat.call(COMPONENT, component_appid="appid_value")
        token = granted["component_access_token"]
        request = json.loads((SAMPLES / "getauthorizerlist_request.json").read_bytes())
        request["count"] = 2  # the documentation shows two of the 33
        data = json.dumps(request).encode()

        _, reply = await wechat.send("POST", MERCHANTS, data=data, **{name: token})

        documented = (SAMPLES / "getauthorizerlist_reply.json").read_bytes()
        assert in_order(reply) == in_order(documented)

    async def test_merchants_join_and_leave_while_the_list_is_read(self, wechat):
        emulator = wechat.emulator
        appids = emulator.add_merchants(PLATFORM, 3)

        @emulator.on_request
        def change(request):
            if request.path == MERCHANTS and request.offset == 1:
                emulator.remove_authorizer(PLATFORM, appids[0])
                emulator.add_authorizer(PLATFORM, MERCHANT)

        page = await wechat.call(MERCHANTS, offset=1, count=500)
        assert [row["authorizer_appid"] for row in page["list"]] == [appids[2], MERCHANT]
        assert emulator.authorizers(PLATFORM) == (*appids[1:], MERCHANT)


class TestOrdinaryEnvironments:
    async def test_documented_request_gets_the_documented_reply(self, wechat):
        wechat.emulator.add_environment("test2-4a89da", update_time="2019-04-04 14:10:36")
        request = (SAMPLES / "getenvinfo_request.json").read_bytes()
        _, reply = await wechat.send(
            "POST", ENVIRONMENTS, data=request, access_token=wechat.emulator.token
        )
        assert in_order(reply) == in_order((SAMPLES / "getenvinfo_reply.json").read_bytes())

    async def test_merchant_sees_own_or_else_shared_environments(self, wechat):
        emulator = wechat.emulator
        for appid in (MERCHANT, BAKERY):
            emulator.add_authorizer(PLATFORM, appid)
        emulator.add_environment(f"{MERCHANT}-1", owner=MERCHANT)
        emulator.deploy(f"{MERCHANT}-1", count=3)
        emulator.deploy("shared-1")
        for appid, env, other, count in (
            (MERCHANT, f"{MERCHANT}-1", "shared-1", 3),
            (BAKERY, "shared-1", f"{MERCHANT}-1", 1),
        ):
            token = await wechat.merchant_token(appid)
            seen = (await wechat.call(ENVIRONMENTS, token=token))["info_list"]
            assert [row["env"] for row in seen] == [env]
            assert (await wechat.list(env, token=token))["total_count"] == count
            assert (await wechat.list(other, token=token))["errcode"] == -501000
        assert [info.env for info in emulator.environments(MERCHANT)] == [f"{MERCHANT}-1"]
        assert [info.env for info in emulator.environments()] == ["shared-1"]

    @pytest.mark.parametrize(
        ("env", "listed"),
        [
            ("second-2", ["second"]),
            ("other", []),
            ("", ["first", "second"]),
            (None, ["first", "second"]),
        ],
    )
    async def test_one_environment_is_listed_or_all_if_none_is_named(self, wechat, env, listed):
        for each in ("first-1", "second-2"):
            wechat.emulator.add_environment(each)
        reply = await wechat.call(ENVIRONMENTS, env=env)
        assert [row["alias"] for row in reply["info_list"]] == listed

    async def test_merchant_that_left_is_refused_everywhere(self, wechat):
        wechat.emulator.add_authorizer(PLATFORM, MERCHANT)
        token = await wechat.merchant_token(MERCHANT)
        wechat.emulator.remove_authorizer(PLATFORM, MERCHANT)
        assert (await wechat.call(ENVIRONMENTS, token=token))["errcode"] == 61003
        assert (await wechat.list(token=token))["errcode"] == 61003
        assert (await wechat.merchant_reply(MERCHANT))["errcode"] == 61003
        assert (await wechat.call(MERCHANTS))["total_count"] == 0


class TestPlatformsOwnEnvironments:
    async def test_documented_environments(self, wechat):
        wechat.emulator.add_environment(
            "test2-4a89da",
            owner=PLATFORM,
            create_time="2020-04-04 14:10:28",
            update_time="2020-04-04 14:10:36",
        )
        token = await wechat.platform_token()
        _, reply = await wechat.send("POST", BATCH_ENVIRONMENTS, access_token=token)
        documented = (SAMPLES / "describeenvs_reply.json").read_text(encoding="utf-8")
        for theirs, ours in [
            ("tnt-fpbvu9gpc", "tnt-test2-4a89da"),
            ("6d79-myttest3-9gyi5pwab13c4d59-1304480914", "bucket-test2-4a89da"),
        ]:
            documented = documented.replace(theirs, ours)
        assert in_order(reply) == in_order(documented)

    async def test_documented_functions(self, wechat):
        env = "myttest-8gu57so0bd9f9e8a"
        wechat.emulator.add_environment(env, owner=PLATFORM)
        documented = (SAMPLES / "getscflist_reply.json").read_bytes()
        failed, active = json.loads(documented)["functions"]
        for row in (failed, active):
            wechat.emulator.deploy(
                env,
                row["name"],
                runtime=row["runtime"],
                status=row["status"],
                more={"status_reason": row["status_reason"]},
                add_time=row["add_time"],
                mod_time=row["mod_time"],
            )
        request = (SAMPLES / "getscflist_request.json").read_bytes()
        token = await wechat.platform_token()
        _, reply = await wechat.send("POST", BATCH_FUNCTIONS, data=request, access_token=token)
        assert in_order(reply) == in_order(documented)

    async def test_a_page_of_functions_has_20_rows_unless_a_limit_is_sent(self, wechat):
        wechat.emulator.add_environment("plat-1", owner=PLATFORM)
        wechat.emulator.deploy("plat-1", count=21)
        token = await wechat.platform_token()
        reply = await wechat.call(BATCH_FUNCTIONS, token=token, env="plat-1")
        assert len(reply["functions"]) == 20
        assert reply["functions"][0]["status_reason"] == []

    async def test_token_of_the_other_kind_is_refused(self, wechat):
        wechat.emulator.add_authorizer(PLATFORM, MERCHANT)
        merchants_token = await wechat.merchant_token(MERCHANT)
        token = await wechat.platform_token()
        for path in (BATCH_ENVIRONMENTS, BATCH_FUNCTIONS, MERCHANTS):
            for wrong in (merchants_token, wechat.emulator.token):
                assert (await wechat.call(path, token=wrong))["errcode"] == 40001
        for path in (ENVIRONMENTS, LIST):
            assert (await wechat.call(path, token=token))["errcode"] == 40001


class TestManyMerchants:
    @pytest.mark.slow
    async def test_thousands_of_merchants_are_added_quickly(self, wechat):
        appids = wechat.emulator.add_merchants(PLATFORM, 10_000, environments=2, functions=50)
        assert len(set(appids)) == 10_000
        with pytest.raises(ValueError, match=f"'{PLATFORM}': this platform exists already"):
            wechat.emulator.add_component(PLATFORM, APPSECRET)
        for offset, count in ((5, 4), (9_800, 500), (10_000, 4)):
            page = await wechat.call(MERCHANTS, offset=offset, count=count)
            assert page["total_count"] == 10_000
            rows = [row["authorizer_appid"] for row in page["list"]]
            assert rows == [*appids[offset : offset + count]]

    async def test_scripts_are_used_up_in_the_order_of_their_addition(self, wechat):
        emulator = wechat.emulator
        emulator.script([Fault.errcode(40013)], account=MERCHANT)
        emulator.script([Fault.errcode(48001)] * 2)
        emulator.script([Fault.errcode(50002)], account=PLATFORM)
        replies = [await wechat.call(COMPONENT) for _ in range(3)]
        assert [reply.get("errcode") for reply in replies] == [48001, 48001, 50002]

    async def test_record_names_the_account_of_a_request(self, wechat):
        emulator = wechat.emulator
        emulator.add_authorizer(PLATFORM, MERCHANT)
        emulator.add_app("wxapp", APPSECRET)
        token = await wechat.merchant_token(MERCHANT)
        await wechat.list(token=token)
        await wechat.list(token="a-stranger's")
        await wechat.call(MERCHANTS)
        await wechat.call(CLASSIC, appid="wxapp")
        assert [request.account for request in emulator.requests] == [
            PLATFORM,  # its token
            MERCHANT,  # its token
            MERCHANT,
            None,
            PLATFORM,  # its token
            PLATFORM,
            "wxapp",
        ]
