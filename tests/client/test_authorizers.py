"""A platform's merchants: all of them, exactly once, and their refresh tokens shown nowhere."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from raw_server import RawServer, http_reply
from secret_leaks import leaks_of, logged, shown_by

from tcb_async import (
    Authorizer,
    ConfigurationError,
    DailyQuotaError,
    ResponseError,
    RetryPolicy,
    TcbClient,
    TokenError,
)
from tcb_async._listings import AUTHORIZERS
from tcb_async._redact import Secret
from tcb_async.emulator import Emulator, Fault
from tcb_async.tokens import AuthorizerToken, ComponentToken, StableToken

if TYPE_CHECKING:
    from tcb_async.emulator import RecordedRequest

MERCHANTS = "/cgi-bin/component/api_get_authorizer_list"
PLATFORM, SECRET, SHOP = "wxplatform", "0123456789abcdef0123456789abcdef", "wxshop"
REFRESH = "refreshtoken@@@" + "r3fr3sh-s3cr3t-" * 4


async def nothing(_refresh_token): ...


async def asked(ask, client):
    answer = ask(client)
    return await answer if isawaitable(answer) else answer


def platform_token(emulator):
    async def newest_ticket() -> str:
        return ticket

    ticket = emulator.push_ticket(PLATFORM)
    return ComponentToken(PLATFORM, SECRET, ticket=newest_ticket, clock=emulator.clock)


@asynccontextmanager
async def platform(**settings):
    async with Emulator(**settings) as emulator:
        emulator.add_component(PLATFORM, SECRET)
        token = platform_token(emulator)
        retry = RetryPolicy(base=0.0)
        async with TcbClient(token, base_url=emulator.url, retry=retry) as client:
            yield emulator, client


def list_requests(emulator):
    return [request for request in emulator.requests if request.path == MERCHANTS]


class TestList:
    async def test_every_merchant_is_listed_at_most_500_a_page(self):
        async with platform() as (emulator, client):
            appids = emulator.add_merchants(PLATFORM, 1_234)
            async with client.authorizers() as pager:
                merchants = await pager.collect()
                assert pager.total == 1_234
            assert [merchant.authorizer_appid for merchant in merchants] == [*appids]
            assert [m.authorizer_appid async for m in client.iter_authorizers()] == [*appids]
            requests = list_requests(emulator)
        assert len(requests) == 6
        assert max(request.body["count"] for request in requests if request.body) == 500
        assert {request.body["component_appid"] for request in requests if request.body} == {
            PLATFORM
        }

    async def test_a_page_may_be_smaller_but_not_larger(self):
        async with platform() as (emulator, client):
            emulator.add_merchants(PLATFORM, 10)
            assert len(await client.authorizers(page_size=4, concurrency=1).collect()) == 10
            assert {r.body["count"] for r in list_requests(emulator) if r.body} == {4}
            with pytest.raises(ConfigurationError, match=r"page_size=501: .* from 1 to 500"):
                client.authorizers(page_size=501)

    async def test_a_merchant_may_have_no_refresh_token(self):
        async with platform() as (emulator, client):
            emulator.add_authorizer(PLATFORM, SHOP, REFRESH)
            emulator.add_authorizer(PLATFORM, "wxbakery", exchanged=False)
            shop, bakery = await client.authorizers().collect()
        assert (shop.refresh_token, bakery.refresh_token) == (REFRESH, None)

    async def test_a_platform_without_merchants_lists_none(self):
        async with platform() as (_, client):
            assert await client.authorizers().collect() == []

    async def test_a_walk_is_resumed_by_its_cursor(self):
        async with platform() as (emulator, client):
            appids = emulator.add_merchants(PLATFORM, 30)
            async with client.authorizers(page_size=7, max_items=20) as pager:
                first = await pager.collect()
            rest = await client.authorizers(page_size=7, resume=str(pager.cursor)).collect()
        assert [merchant.authorizer_appid for merchant in first + rest] == [*appids]
        with pytest.raises(ConfigurationError, match="resume"):
            client.authorizers(component_appid="wxother", resume=pager.cursor)

    async def test_the_platforms_quota_is_an_error_with_the_merchants_before_it(self):
        async with platform() as (emulator, client):
            emulator.add_merchants(PLATFORM, 30)
            emulator.script([Fault.errcode(45009)] * 9, when=lambda asked: (asked.offset or 0) > 10)
            walk = client.iter_authorizers(page_size=7)
            with pytest.raises(DailyQuotaError) as caught:
                _ = [merchant async for merchant in walk]
        assert (caught.value.env, caught.value.offset) == (None, 12)
        assert caught.value.cursor.count == 13


class TestTokenOfTheRightKind:
    @pytest.mark.parametrize(
        ("ask", "endpoint"),
        [
            (lambda client: client.authorizers(), "api_get_authorizer_list"),
            (
                lambda client: client.authorizers(component_appid=PLATFORM),
                "api_get_authorizer_list",
            ),
            (lambda client: client.batch_functions("own-1"), "getscflist"),
            (lambda client: client.list_batch_environments(), "describeenvs"),
            (lambda client: client.functions("test-1"), "listfunctions"),
            (lambda client: client.list_environments(), "getenvinfo"),
        ],
    )
    async def test_one_of_another_kind_is_refused_before_anything_is_sent(self, ask, endpoint):
        async with platform() as (emulator, client):
            component = platform_token(emulator)
            shop = AuthorizerToken(component, SHOP, REFRESH, on_rotate=nothing)
            of_an_account = endpoint in {"listfunctions", "getenvinfo"}
            for wrong in (component,) if of_an_account else (shop, StableToken("wxapp", SECRET)):
                said = rf"{endpoint} .*ComponentToken.*"
                with pytest.raises(ConfigurationError, match=said) as caught:
                    await asked(ask, client.with_token(wrong))
                assert type(wrong).__name__ in str(caught.value)
            assert emulator.requests == ()

    async def test_a_plain_component_token_needs_to_be_told_the_platform(self):
        async with platform() as (emulator, client):
            emulator.add_merchants(PLATFORM, 3)
            plain = await platform_token(emulator).get_token(client._transport)
            copy = client.with_token(plain)
            with pytest.raises(ConfigurationError, match="component_appid is missing"):
                copy.authorizers()
            with pytest.raises(ConfigurationError, match="component_appid"):
                copy.authorizers(component_appid="no appid")
            assert len(await copy.authorizers(component_appid=PLATFORM).collect()) == 3


class TestJoiningAndLeaving:
    @staticmethod
    def churn(emulator):
        """Let an early merchant leave and another join before each page of the list."""
        emulator.add_merchants(PLATFORM, 2_000)

        @emulator.on_request
        def change(asked: RecordedRequest) -> None:
            if asked.path == MERCHANTS:
                appids = emulator.authorizers(PLATFORM)
                emulator.remove_authorizer(PLATFORM, appids[len(appids) // 20])
                emulator.add_authorizer(PLATFORM, f"wxnew{asked.number}")

    @pytest.mark.parametrize("order", ["added", "newest_first"])
    async def test_none_that_stayed_is_missing_or_doubled(self, order):
        async with platform(order=order) as (emulator, client):
            self.churn(emulator)
            before = set(emulator.authorizers(PLATFORM))
            merchants = await client.authorizers(page_size=100).collect()
            stayed = before & set(emulator.authorizers(PLATFORM))
        found = [merchant.authorizer_appid for merchant in merchants]
        assert stayed <= set(found)
        assert len(found) == len(set(found))

    async def test_a_plain_loop_loses_some(self):
        async with platform() as (emulator, client):
            self.churn(emulator)
            before = set(emulator.authorizers(PLATFORM))
            found: list[str] = []
            while True:
                page = await client._fetch(
                    AUTHORIZERS, {"component_appid": PLATFORM}, len(found), 100
                )
                if not page.items:
                    break
                found += [merchant.authorizer_appid for merchant in page.items]
            lost = (before & set(emulator.authorizers(PLATFORM))) - set(found)
        assert len(lost) == 18

    @settings(suppress_health_check=list(HealthCheck), deadline=None)
    @given(
        changes=st.lists(
            st.tuples(st.integers(1, 12), st.booleans(), st.floats(0, 1, exclude_max=True)),
            max_size=12,
        ),
        count=st.integers(0, 60),
        page_size=st.integers(2, 20),
        order=st.sampled_from(["added", "newest_first"]),
    )
    async def test_whatever_joins_and_leaves_who_stays_is_listed_once(
        self, changes, count, page_size, order
    ):
        async with platform(order=order) as (emulator, client):
            emulator.add_merchants(PLATFORM, count)
            before = set(emulator.authorizers(PLATFORM))
            left: set[str] = set()

            @emulator.on_request
            def change(asked: RecordedRequest) -> None:
                for number, joins, where in changes:
                    if emulator.counts[MERCHANTS] != number:
                        continue
                    appids = emulator.authorizers(PLATFORM)
                    if joins:
                        emulator.add_authorizer(PLATFORM, f"wxnew{asked.number}-{where}")
                    elif appids:
                        left.add(gone := appids[int(where * len(appids))])
                        emulator.remove_authorizer(PLATFORM, gone)

            merchants = await client.authorizers(page_size=page_size).collect()
        found = [merchant.authorizer_appid for merchant in merchants]
        assert before - left <= set(found)
        assert len(found) == len(set(found))


class TestRefreshToken:
    async def test_a_lost_one_is_recovered_from_the_list(self):
        async with platform() as (emulator, client):
            emulator.add_authorizer(PLATFORM, SHOP)
            emulator.add_environment("shop-1", owner=SHOP)
            emulator.deploy("shop-1", count=3)
            component = platform_token(emulator)
            forgotten = AuthorizerToken(component, SHOP, "forgotten", on_rotate=nothing)
            with pytest.raises(TokenError, match="61023"):
                await client.with_token(forgotten).count_functions("shop-1")

            async for merchant in client.iter_authorizers():
                token = AuthorizerToken.from_authorizer(component, merchant, on_rotate=nothing)
                assert await client.with_token(token).count_functions("shop-1") == 3

    async def test_where_there_is_none_the_error_says_what_to_do(self):
        async with platform() as (emulator, _):
            component = platform_token(emulator)
            with pytest.raises(ConfigurationError, match=r"no refresh token for wxshop: use the"):
                AuthorizerToken.from_authorizer(component, Authorizer(SHOP), on_rotate=nothing)
            with pytest.raises(ConfigurationError, match=r"an? Authorizer, from client"):
                AuthorizerToken.from_authorizer(
                    component,
                    SHOP,  # type: ignore[arg-type]
                    on_rotate=nothing,
                )

    def test_nothing_shows_it(self):
        merchant = Authorizer(SHOP, REFRESH, "2019-05-16 17:56:47")  # type: ignore[arg-type]
        adapter = TypeAdapter(Authorizer)
        shown = [
            repr(merchant),
            str(merchant),
            f"{merchant}",
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
        merchant = Authorizer(SHOP, REFRESH, "2019-05-16 17:56:47")  # type: ignore[arg-type]
        copies = [copy.copy(merchant), copy.deepcopy(merchant), attrs.evolve(merchant)]
        assert copies == [merchant] * 3
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
    async def test_no_error_log_or_traceback_shows_it(self, reply, caplog):
        caplog.set_level(logging.DEBUG)
        body = (reply % REFRESH).encode()
        async with (
            RawServer(lambda *_: http_reply(body)) as server,
            TcbClient("TOKEN", base_url=server.url, retry=RetryPolicy.none()) as client,
        ):
            pager = client.authorizers(component_appid=PLATFORM)
            try:
                said = [repr(await pager.collect())]
            except Exception as error:  # noqa: BLE001 - all that is raised is looked at
                said = [*shown_by(error)]
            said += [repr(pager), repr(pager.cursor), str(pager.cursor)]
        assert leaks_of([REFRESH], [*said, *logged(caplog.records)]) == []

    async def test_one_that_is_no_text_is_a_response_error(self):
        body = b'{"total_count":1,"list":[{"authorizer_appid":"wxshop","refresh_token":5}]}'
        with pytest.raises(ResponseError, match="where text should be"):
            AUTHORIZERS.decode(body)
