"""A platform's merchants, each once, and its own environments (批量云开发)."""

import copy
import itertools
import json
import logging
import pickle

import attrs
import pytest
from constants import PLATFORM
from merchants import Platform
from pydantic import TypeAdapter
from raw_server import http_reply
from secret_leaks import leaks_of, logged, shown_by

from tcb_async import (
    Authorizer,
    ConfigurationError,
    ParameterError,
    ResponseError,
    RetryPolicy,
    StatusReason,
    TokenError,
    platform_accounts,
)
from tcb_async._listings import AUTHORIZERS
from tcb_async._redact import Secret
from tcb_async.emulator import Fault
from tcb_async.tokens import AuthorizerToken, StableToken

MERCHANTS = AUTHORIZERS.path
SHOP, OWN_ENV = "wxshop", "own-1"
REFRESH = "refreshtoken@@@" + "r3fr3sh-s3cr3t-" * 4
AT_ONCE = RetryPolicy(attempts=8, base=0.0)


@pytest.fixture
def platform(emulator):
    """A platform without merchants, with an environment of its own."""
    platform = Platform(emulator)
    emulator.add_environment(OWN_ENV, owner=PLATFORM)
    return platform


@pytest.fixture
async def client(platform):
    """A client with the token of the platform itself."""
    async with platform.client(retry=AT_ONCE) as client:
        yield client


async def nothing(_refresh_token): ...


def appids_of(merchants):
    return [merchant.authorizer_appid for merchant in merchants]


def list_bodies(emulator):
    return [request.body for request in emulator.requests if request.path == MERCHANTS]


class TestMerchants:
    async def test_every_merchant_is_listed_at_most_500_a_page(self, emulator, client):
        appids = emulator.add_merchants(PLATFORM, 1_234)
        async with client.authorizers() as pager:
            merchants = await pager.collect()
            assert pager.total == 1_234
        assert appids_of(merchants) == [*appids]
        assert [m.authorizer_appid async for m in client.authorizers()] == [*appids]
        bodies = list_bodies(emulator)
        assert len(bodies) == 6
        assert max(body["count"] for body in bodies) == 500
        assert {body["component_appid"] for body in bodies} == {PLATFORM}

    async def test_page_may_be_smaller_but_not_larger(self, emulator, client):
        emulator.add_merchants(PLATFORM, 10)
        assert len(await client.authorizers(page_size=4).collect()) == 10
        assert {body["count"] for body in list_bodies(emulator)} == {4}
        with pytest.raises(ConfigurationError, match=r"page_size=501: .* from 2 to 500"):
            client.authorizers(page_size=501)

    async def test_merchant_may_have_no_refresh_token(self, emulator, client):
        emulator.add_authorizer(PLATFORM, SHOP, REFRESH)
        emulator.add_authorizer(PLATFORM, "wxbakery")

        @emulator.on_reply
        def hide(request, reply):
            if "list" in reply:
                del reply["list"][1]["refresh_token"]

        shop, bakery = await client.authorizers().collect()
        assert (shop.refresh_token, bakery.refresh_token) == (REFRESH, None)

    async def test_walk_is_resumed_by_its_cursor(self, emulator, client):
        appids = emulator.add_merchants(PLATFORM, 30)
        async with client.authorizers(page_size=7, max_items=20) as pager:
            first = await pager.collect()
        rest = await client.authorizers(page_size=7, resume=str(pager.cursor)).collect()
        assert appids_of(first + rest) == [*appids]
        with pytest.raises(ConfigurationError, match="resume"):
            client.authorizers(component_appid="wxother", resume=pager.cursor)


class TestTokenOfTheRightKind:
    @pytest.mark.parametrize(
        ("ask", "endpoint"),
        [
            (lambda client: client.authorizers(component_appid=PLATFORM), MERCHANTS),
            (lambda client: client.batch_functions(OWN_ENV), "getscflist"),
            (lambda client: client.list_batch_environments(), "describeenvs"),
            (lambda client: client.functions("test-1"), "listfunctions"),
            (lambda client: client.list_environments(), "getenvinfo"),
        ],
    )
    async def test_wrong_kind_is_refused_before_any_request(
        self, emulator, platform, client, ask, endpoint
    ):
        component = platform.token()
        shop = AuthorizerToken(component, SHOP, REFRESH, on_rotate=nothing)
        of_an_account = endpoint in {"listfunctions", "getenvinfo"}
        for wrong in (component,) if of_an_account else (shop, StableToken("wxapp", "secret")):
            said = rf"{endpoint} .*ComponentToken.*"
            with pytest.raises(ConfigurationError, match=said) as caught:
                await ask(client.with_token(wrong))
            assert type(wrong).__name__ in str(caught.value)
        assert emulator.requests == ()

    async def test_plain_component_token_needs_the_platform_named(self, emulator, platform, client):
        emulator.add_merchants(PLATFORM, 3)
        plain = await platform.token().get_token(client._transport)
        copy = client.with_token(plain)
        with pytest.raises(ConfigurationError, match="component_appid is missing"):
            copy.authorizers()
        with pytest.raises(ConfigurationError, match="component_appid"):
            copy.authorizers(component_appid="no appid")
        assert len(await copy.authorizers(component_appid=PLATFORM).collect()) == 3


class TestRefreshToken:
    async def test_lost_refresh_token_is_recovered_from_the_list(self, emulator, platform, client):
        emulator.add_authorizer(PLATFORM, SHOP)
        emulator.add_environment("shop-1", owner=SHOP)
        emulator.deploy("shop-1", count=3)
        component = platform.token()
        forgotten = AuthorizerToken(component, SHOP, "forgotten", on_rotate=nothing)
        with pytest.raises(TokenError, match="61023"):
            await client.with_token(forgotten).function_page("shop-1")

        async for account in platform_accounts(client, on_rotate=rotate):
            assert (await client.with_token(account.token).function_page("shop-1")).total == 3

    async def test_missing_refresh_token_gives_advice(self, emulator, client):
        emulator.add_authorizer(PLATFORM, SHOP)

        @emulator.on_reply
        def hide(request, reply):
            for row in reply.get("list", ()):
                del row["refresh_token"]

        (account,) = [each async for each in platform_accounts(client, on_rotate=rotate)]
        with pytest.raises(
            ConfigurationError, match=r"no valid refresh token for wxshop: use your"
        ):
            await client.with_token(account.token).function_page("shop-1")

    def test_nothing_shows_it(self):
        merchant = Authorizer(SHOP, REFRESH, "2019-05-16 17:56:47")
        adapter = TypeAdapter(Authorizer)
        shown = [
            f"{merchant!r} {merchant}",
            repr(merchant.to_dict()),
            repr(attrs.asdict(merchant)),
            repr(vars(type(merchant))),
            adapter.dump_json(merchant).decode(),
            json.dumps(adapter.json_schema(mode="serialization")),
        ]
        assert leaks_of([REFRESH], shown) == []
        assert list(merchant.to_dict()) == ["authorizer_appid", "auth_time"]
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(merchant)

    def test_copies_of_a_merchant_keep_it(self):
        merchant = Authorizer(SHOP, REFRESH, "2019-05-16 17:56:47")
        copies = [copy.copy(merchant), attrs.evolve(merchant)]
        assert copies == [merchant] * 2
        assert {hash(twin) for twin in copies} == {hash(merchant)}
        assert Authorizer(SHOP, Secret(REFRESH), merchant.auth_time) == merchant
        assert merchant.refresh_token.reveal() == REFRESH

    @pytest.mark.parametrize(
        "reply",
        [
            '{"total_count":1,"list":[{"authorizer_appid":"wxshop","refresh_token":"%s"}]}',
            '{"total_count":1,"list":[{"authorizer_appid":"wxshop","refresh_token":"%s"',
            '{"total_count":1,"list":[{"authorizer_appid":5,"refresh_token":"%s"}]}',
            '{"total_count":"many","list":[{"authorizer_appid":"a","refresh_token":"%s"}]}',
            '{"total_count":1,"list":[{"refresh_token":"%s"}]}',
            '{"total_count":1,"list":[{"refresh_token":["%s"]}]}',
            '{"errcode":-1,"errmsg":"busy","list":[{"refresh_token":"%s"}]}',
        ],
    )
    async def test_no_error_log_or_traceback_shows_it(self, serve, reply, caplog):
        caplog.set_level(logging.DEBUG)
        _, client = await serve(
            http_reply((reply % REFRESH).encode()), retry=RetryPolicy(attempts=1)
        )
        pager = client.authorizers(component_appid=PLATFORM)
        try:
            said = [repr(await pager.collect())]
        except Exception as error:  # noqa: BLE001 - any error is searched
            said = [*shown_by(error)]
        said += [repr(pager), repr(pager.cursor), str(pager.cursor)]
        assert leaks_of([REFRESH], [*said, *logged(caplog.records)]) == []

    async def test_refresh_token_that_is_not_text_is_a_response_error(self):
        body = b'{"total_count":1,"list":[{"authorizer_appid":"wxshop","refresh_token":5}]}'
        with pytest.raises(ResponseError, match="in place of text"):
            AUTHORIZERS.reader.read(body)


class TestBatch:
    async def test_every_function_is_listed_with_why_it_failed(self, emulator, client):
        emulator.deploy(OWN_ENV, count=45)
        why = {"errcode": "ResourceNotFound.File", "errmsg": "no such file"}
        emulator.deploy(OWN_ENV, "broken", status="CreateFailed", more={"status_reason": [why]})
        functions = [function async for function in client.batch_functions(OWN_ENV)]
        assert [f.name for f in functions] == [row.name for row in emulator.functions(OWN_ENV)]
        assert [found.env for found in await client.list_batch_environments()] == [OWN_ENV]
        assert functions[-1].status_reason == (StatusReason(**why),)
        assert functions[0].status_reason == ()

    async def test_searchkey_filters_and_belongs_to_the_cursor(self, emulator, client):
        emulator.deploy(OWN_ENV, count=45)
        async with client.batch_functions(OWN_ENV, searchkey="fn-001", page_size=4) as pager:
            names = [function.name for function in await pager.collect()]
            assert pager.total == 10
        assert names == [f"fn-00{number}" for number in range(10, 20)]
        for env, other in (
            (OWN_ENV, None),
            (OWN_ENV, "fn-002"),
            (f"{OWN_ENV}&searchkey=fn-001", None),
        ):
            with pytest.raises(ConfigurationError, match="resume"):
                client.batch_functions(env, searchkey=other, resume=pager.cursor)
        with pytest.raises(ConfigurationError, match="searchkey=''"):
            client.batch_functions(OWN_ENV, searchkey="")

    async def test_cursor_of_a_different_endpoint_is_refused(self, client):
        cursor = client.with_token("a-token-of-the-account").functions(OWN_ENV).cursor
        with pytest.raises(ConfigurationError, match=r"listfunctions.*not of.*getscflist"):
            client.batch_functions(OWN_ENV, resume=cursor)

    async def test_error_says_which_environment_it_was(self, client):
        with pytest.raises(ParameterError, match="no such environment") as caught:
            await client.batch_functions("other-1").collect()
        assert (caught.value.errcode, caught.value.env) == (-501000, "other-1")


@pytest.fixture
def twice(platform, emulator):
    """Three merchants, of which the list has the second one twice."""
    appids = emulator.add_merchants(PLATFORM, 3)
    listed = [appids[0], appids[1], appids[2], appids[1]]
    rows = [
        {"authorizer_appid": appid, "refresh_token": REFRESH, "auth_time": 1700000000 + row}
        for row, appid in enumerate(listed)
    ]
    body = json.dumps({"total_count": len(rows), "list": rows}).encode()
    emulator.script(itertools.repeat(Fault.body(body)), path=MERCHANTS)
    return appids


class TestMerchantThatStandsTwice:
    async def test_it_is_yielded_once_and_named(self, client, twice, caplog):
        merchants = await client.authorizers().collect()

        assert appids_of(merchants) == list(twice)
        assert f"{twice[1]!r} is in two rows of " in caplog.text
        assert twice[0] not in caplog.text


async def rotate(_appid, _refresh_token): ...
