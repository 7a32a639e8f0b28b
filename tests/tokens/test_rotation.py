"""A refresh token that rotates: saved before anything else, and never lost."""

import asyncio
import json
import logging
import math

import pytest
from constants import AUTHORIZER, COMPONENT, ENV, LIFE, LIST, MERCHANT, PLATFORM
from leaks import eventually
from raw_server import RawServer, http_reply
from secret_leaks import shown_by
from token_fixtures import FrailStore, PacedApi, a_ticket, a_turn, never

from tcb_async import (
    ClientClosedError,
    RetryPolicy,
    TcbClient,
    TcbError,
    TokenError,
    TransportError,
)
from tcb_async.emulator import Fault
from tcb_async.tokens import (
    AuthorizerToken,
    ComponentToken,
    MemoryStore,
    Secret,
    StoredToken,
    guarded_store,
)


@pytest.fixture
def provider(merchant):
    """The provider of a merchant's token."""
    return merchant.token()


class TestRotation:
    async def test_refresh_token_is_saved_before_the_call_returns(self, emulator, merchant, client):
        merchant.rotate()
        saved_before = {}
        emulator.on_request(lambda seen: saved_before.setdefault(seen.path, merchant.saved[:]))

        await client.function_page(ENV)

        assert saved_before[LIST] == [merchant.accepted]
        assert merchant.accepted != merchant.first

    async def test_next_request_uses_the_new_refresh_token(self, merchant, provider, api):
        for _ in range(3):
            merchant.rotate()
            await provider.get_token(api)
            merchant.expire()

        assert len(merchant.saved) == 3
        assert merchant.saved[-1] == merchant.accepted
        assert merchant.asked == 3

    @pytest.mark.parametrize(
        ("failure", "why"), [(OSError, "OSError"), (asyncio.CancelledError, "was cancelled")]
    )
    async def test_failed_save_is_repeated_before_the_next_call(
        self, merchant, provider, api, failure, why
    ):
        merchant.rotate()
        merchant.failures, merchant.failure = 5, failure

        for _ in range(5):
            with pytest.raises(TokenError, match=f"on_rotate failed.*{why}") as caught:
                await provider.get_token(api)
            assert merchant.accepted not in str(caught.value)
        assert merchant.saved == []
        assert merchant.asked == 1

        assert await provider.get_token(api)
        assert merchant.saved == [merchant.accepted]
        assert merchant.asked == 2

    async def test_closing_a_client_waits_for_the_save(self, emulator, merchant):
        may_end, started = asyncio.Event(), asyncio.Event()

        async def save_slowly(refresh_token):
            started.set()
            await may_end.wait()
            await merchant.save(refresh_token)

        provider = merchant.token(on_rotate=save_slowly)
        merchant.rotate()
        client = TcbClient(provider, base_url=emulator.url)
        caller = asyncio.create_task(client.function_page(ENV))
        await started.wait()
        closing: list[asyncio.Task[None]] = []
        for _ in range(2):  # as a signal handler and the end of a block do
            closing.append(asyncio.create_task(client.aclose()))
            await a_turn()
        assert not any(each.done() for each in closing)
        may_end.set()
        await asyncio.gather(*closing)
        with pytest.raises(ClientClosedError):
            await caller

        assert merchant.saved == [merchant.accepted]
        assert provider.expires_at is None

    @pytest.mark.looptime
    async def test_request_in_flight_is_completed_at_close(self):
        saved = []

        async def save(refresh_token):
            saved.append(refresh_token)

        api = PacedApi(0.0, 2.0)
        api.refresh_token = "new"
        platform = ComponentToken(PLATFORM, "appsecret", ticket=a_ticket)
        provider = AuthorizerToken(platform, MERCHANT, "old", on_rotate=save)
        caller = asyncio.create_task(provider.get_token(api))
        await asyncio.sleep(1)
        api.close()
        with pytest.raises(ClientClosedError):
            await caller

        assert saved == ["new"]
        assert asyncio.get_running_loop().time() == 2

    async def test_request_on_a_socket_is_completed_at_close(self):
        may_reply, arrived = asyncio.Event(), asyncio.Event()
        saved = []

        async def reply(exchange):
            body = {"component_access_token": "platform-access-token", "expires_in": LIFE}
            if AUTHORIZER in exchange.request.target:
                arrived.set()
                await may_reply.wait()
                body = {
                    "authorizer_access_token": "merchant-access-token",
                    "expires_in": LIFE,
                    "authorizer_refresh_token": "refreshtoken@@@new",
                }
            await exchange.send(http_reply(json.dumps(body).encode()))

        async def save(refresh_token):
            saved.append(refresh_token)

        platform = ComponentToken(PLATFORM, "appsecret", ticket=a_ticket)
        provider = AuthorizerToken(platform, MERCHANT, "refreshtoken@@@old", on_rotate=save)
        async with RawServer(reply) as server:
            client = TcbClient(provider, base_url=server.url)
            caller = asyncio.create_task(client.function_page(ENV))
            await arrived.wait()
            closing = asyncio.create_task(client.aclose())
            await a_turn()
            assert not closing.done()
            may_reply.set()
            await closing
            with pytest.raises(ClientClosedError):
                await caller

        assert saved == ["refreshtoken@@@new"]

    async def test_closing_ends_the_wait_of_a_dead_server(self, emulator, merchant):
        emulator.script([Fault.status(502)] * 99, path=AUTHORIZER)
        client = TcbClient(merchant.token(), base_url=emulator.url)
        caller = asyncio.create_task(client.function_page(ENV))
        await eventually(lambda: emulator.counts[AUTHORIZER] == 1)
        async with asyncio.timeout(0.3):  # the wait takes 0.5 s or more
            await client.aclose()
        with pytest.raises(ClientClosedError):
            await caller

        assert emulator.counts[AUTHORIZER] == 1

    async def test_closed_client_begins_no_request(self, emulator, merchant):
        may_load, started = asyncio.Event(), asyncio.Event()

        async def load():
            started.set()
            await may_load.wait()
            return merchant.first

        client = TcbClient(merchant.token(refresh_token=load), base_url=emulator.url)
        await client.with_token(merchant.component).get_token()
        caller = asyncio.create_task(client.function_page(ENV))
        await started.wait()
        closing = asyncio.create_task(client.aclose())
        await a_turn()
        may_load.set()
        await closing
        with pytest.raises(ClientClosedError):
            await caller

        assert merchant.asked == 0

    async def test_failed_save_is_logged_if_its_client_was_closed(self, emulator, merchant, caplog):
        may_end, started = asyncio.Event(), asyncio.Event()

        async def fail(_):
            started.set()
            await may_end.wait()
            raise OSError("no disk")

        merchant.rotate()
        client = TcbClient(merchant.token(on_rotate=fail), base_url=emulator.url)
        caller = asyncio.create_task(client.function_page(ENV))
        await started.wait()
        closing = asyncio.create_task(client.aclose())
        await a_turn()
        may_end.set()
        await closing
        with pytest.raises(ClientClosedError):
            await caller

        assert "on_rotate failed (OSError: no disk)" in caplog.text

    @pytest.mark.looptime
    async def test_hanging_save_delays_closing_by_10_s(self, caplog):
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        async def hang(_):
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        api = PacedApi()
        api.refresh_token = "new"
        platform = ComponentToken(PLATFORM, "appsecret", ticket=a_ticket)
        provider = AuthorizerToken(platform, MERCHANT, "old", on_rotate=hang)
        caller = asyncio.create_task(provider.get_token(api))
        await asyncio.sleep(1)
        api.close()
        with pytest.raises(ClientClosedError):
            await caller
        await ended.wait()

        assert loop.time() == 1 + 10
        assert "failed (CancelledError): its new refresh token may not" in caplog.text

    @pytest.mark.looptime
    async def test_second_cancellation_leaves_no_task_and_is_logged(self, caplog):
        api = PacedApi(0.0, 2.0)
        platform = ComponentToken(PLATFORM, "appsecret", ticket=a_ticket)
        provider = AuthorizerToken(platform, MERCHANT, "old", on_rotate=never)
        caller = asyncio.create_task(provider.get_token(api))
        await asyncio.sleep(1)
        for _ in range(2):
            api.close()
            await a_turn()
        with pytest.raises(ClientClosedError):
            await caller

        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert "failed (CancelledError): its new refresh token may not" in caplog.text
        assert asyncio.get_running_loop().time() == 1

    @pytest.mark.looptime
    async def test_any_error_after_the_closing_is_logged(self, caplog):
        class Dropping(PacedApi):
            async def call_token_endpoint(self, *arguments, **options):
                await super().call_token_endpoint(*arguments, **options)
                if self.asked > 1:
                    raise TransportError("the connection was dropped")
                return {"component_access_token": "token", "expires_in": LIFE}

        api = Dropping(0.0, 2.0)
        platform = ComponentToken(PLATFORM, "appsecret", ticket=a_ticket)
        provider = AuthorizerToken(platform, MERCHANT, "old", on_rotate=never)
        caller = asyncio.create_task(provider.get_token(api))
        await asyncio.sleep(1)
        api.close()
        with pytest.raises(ClientClosedError):
            await caller

        assert "failed (TransportError: the connection was dropped)" in caplog.text

    @pytest.mark.parametrize("nonsense", [None, "", 7, "two words", "a line break\n"])
    async def test_invalid_refresh_token_is_neither_saved_nor_used(
        self, emulator, merchant, provider, api, nonsense
    ):
        reply = {"authorizer_access_token": "token", "expires_in": LIFE}
        reply["authorizer_refresh_token"] = nonsense
        emulator.script([Fault.body(json.dumps(reply).encode())], path=AUTHORIZER)

        assert await provider.get_token(api) == "token"
        merchant.expire()
        assert await provider.get_token(api)

        assert merchant.saved == []


class TestLoad:
    async def test_it_is_called_before_each_request(self, merchant, api):
        provider = merchant.token(refresh_token=merchant.load)
        for count in (1, 2, 3):
            merchant.rotate()
            assert await provider.get_token(api)
            await provider.get_token(api)
            merchant.expire()

            assert (merchant.loads, merchant.asked) == (count, count)
            assert merchant.saved[-1] == merchant.accepted

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (OSError("the database is down"), "failed .OSError: the database is down"),
            (asyncio.CancelledError(), "failed .*was cancelled"),
            (None, "the result of refresh_token"),
            ("two words", "contains white space"),
        ],
    )
    async def test_it_fails_before_any_request(self, merchant, api, answer, why):
        async def load():
            if isinstance(answer, BaseException):
                raise answer
            return answer

        with pytest.raises(TokenError, match=why):
            await merchant.token(refresh_token=load).get_token(api)

        assert merchant.asked == 0


class TestSharedRotation:
    @pytest.fixture
    def store(self):
        return MemoryStore()

    @pytest.fixture
    def two(self, merchant, store):
        """Two processes."""
        return merchant.shared_token(store), merchant.shared_token(store)

    async def test_refresh_token_reaches_the_other_process(self, merchant, api, two):
        one, other = two
        merchant.rotate()
        token = await one.get_token(api)
        assert await other.get_token(api) == token
        merchant.expire()

        assert await other.get_token(api) != token

        assert merchant.saved == [merchant.accepted] * 2
        assert merchant.asked == 3

    async def test_unsaved_refresh_token_does_not_return(self, merchant, api, two):
        one, other = two
        merchant.rotate()
        merchant.failures = 1
        with pytest.raises(TokenError, match="on_rotate failed"):
            await one.get_token(api)
        merchant.rotate()
        await other.get_token(api)
        merchant.expire()

        await one.get_token(api)

        assert merchant.saved[-1] == merchant.accepted

    async def test_dead_stored_refresh_token_does_no_harm(self, merchant, api, store):
        older = StoredToken("refreshtoken@@@older", math.inf)
        await store.set(merchant.key, older, ttl=None)

        await merchant.shared_token(store).get_token(api)

        assert merchant.saved == []
        assert merchant.asked == 1

    async def test_unrotated_refresh_token_is_not_stored(self, merchant, api, store):
        await merchant.shared_token(store).get_token(api)

        assert await store.get(merchant.key) is None

    async def test_store_that_loses_it_is_not_needed(self, merchant, api, store):
        one, other = [
            merchant.token(merchant.new_component(store), merchant.load) for _ in range(2)
        ]
        merchant.rotate()
        await one.get_token(api)
        del store._values[merchant.key]
        merchant.expire()
        await one.get_token(api)
        merchant.expire()

        assert await other.get_token(api)

        assert merchant.asked == 3

    async def test_it_is_in_the_store_while_it_is_saved(self, merchant, api, store):
        merchant.rotate()
        merchant.failures = 1
        with pytest.raises(TokenError, match="on_rotate failed"):
            await merchant.shared_token(store).get_token(api)

        successor = merchant.token(merchant.new_component(store), merchant.load)
        assert await successor.get_token(api)

        assert merchant.saved == [merchant.accepted]

    async def test_new_authorisation_is_not_replaced_by_an_unsaved_token(
        self, emulator, merchant, api
    ):
        provider = merchant.token(refresh_token=merchant.load)
        merchant.rotate()
        merchant.failures = 1
        with pytest.raises(TokenError, match="on_rotate failed"):
            await provider.get_token(api)
        again = emulator.add_authorizer(PLATFORM, MERCHANT)
        merchant.saved.append(again)

        assert await provider.get_token(api)

        assert merchant.saved == [again]

    @pytest.mark.parametrize("kind", ["away", "read_only"])
    async def test_latest_refresh_token_is_used_without_the_store(self, merchant, api, kind):
        store = FrailStore()
        provider = merchant.shared_token(store)
        for fails in (False, True, True, False):
            setattr(store, kind, fails)
            merchant.rotate()
            await provider.get_token(api)
            merchant.expire()

        assert merchant.asked == 4
        assert len(merchant.saved) == 4

    async def test_new_authorisation_replaces_the_stored_token(
        self, emulator, merchant, api, store
    ):
        merchant.rotate()
        await merchant.shared_token(store).get_token(api)
        merchant.expire()
        again = emulator.add_authorizer(PLATFORM, MERCHANT)
        renewed = merchant.token(merchant.new_component(store), refresh_token=again)

        assert await renewed.get_token(api)
        assert merchant.asked == 2
        merchant.expire()
        assert await renewed.get_token(api)

        assert merchant.asked == 3
        assert merchant.saved[1:] == []

    @pytest.mark.parametrize("failure", ["away", "read_only", "hanging"])
    async def test_store_that_fails_costs_no_call(self, merchant, api, failure, monkeypatch):
        monkeypatch.setattr(guarded_store, "_TIMEOUT", 0.1)
        store = FrailStore()
        setattr(store, failure, True)
        merchant.rotate()

        assert await merchant.shared_token(store).get_token(api)

        assert merchant.saved == [merchant.accepted]

    async def test_store_is_set_before_on_rotate(self, merchant, api, store):
        in_store = []

        async def save(refresh_token):
            in_store.append((await store.get(merchant.key)).token == refresh_token)

        merchant.rotate()
        await merchant.token(merchant.new_component(store), on_rotate=save).get_token(api)

        assert in_store == [True]

    async def test_merchants_share_the_store_of_their_platform(self, emulator, merchant, api):
        one, other = [await merchant.token().get_token(api) for _ in range(2)]

        assert one == other
        assert (emulator.counts[COMPONENT], merchant.asked) == (1, 1)


FIRST = {"authorizer_refresh_token": Secret("first")}


class RotatingApi(PacedApi):
    """A WeChat that accepts only the latest refresh token, and handles requests after a while."""

    latest = "first"

    async def call_token_endpoint(self, path, *, body, **_):
        if path == COMPONENT:
            return {"component_access_token": "token", "expires_in": LIFE}
        self.asked += 1
        if body["authorizer_refresh_token"].reveal() != self.latest:
            raise TokenError("the refresh token is invalid", errcode=61023, endpoint=path)
        number = self.asked
        self.latest = f"refresh-{number}"
        tokens = {"authorizer_refresh_token": self.latest, "authorizer_access_token": f"a-{number}"}
        await asyncio.sleep(next(self.seconds))
        return {**tokens, "expires_in": LIFE}


@pytest.mark.looptime
class TestRace:
    """Owners of one merchant, whose token requests take longer than the lock lasts."""

    @pytest.fixture
    def saved(self):
        return ["first"]

    @pytest.fixture
    def owner(self, saved):
        """Make an owner; all of them share a store."""
        store = MemoryStore()

        async def load():
            return saved[-1]

        async def save(refresh_token):
            saved.append(refresh_token)

        def make():
            platform = ComponentToken(PLATFORM, "appsecret", ticket=a_ticket, store=store)
            return AuthorizerToken(platform, MERCHANT, load, on_rotate=save)

        return make

    async def test_losers_adopt_the_token_of_the_winner(self, owner, saved):
        api = RotatingApi(4.5)

        tokens = await asyncio.gather(*(owner().get_token(api) for _ in range(8)))

        assert set(tokens) == {"a-1"}
        assert saved[-1] == api.latest
        assert asyncio.get_running_loop().time() < 5

    async def test_refresh_token_that_is_stored_meanwhile_is_used(self, owner, saved):
        """Its owner is still saving it, or has died."""
        api = RotatingApi()
        api.latest = "second"
        late = owner()
        caller = asyncio.create_task(late.get_token(api))
        await asyncio.sleep(1.0)
        second = StoredToken("second", math.inf)
        await late._store.set(late._make_key("refresh"), second, ttl=None)

        assert await caller == f"a-{api.asked}"
        assert saved[-1] == api.latest

    async def test_slow_save_does_not_replace_a_newer_refresh_token(self, owner, saved):
        api = RotatingApi()
        slow, quick = owner(), owner()
        save, slow_save = slow._on_rotate, asyncio.Event()

        async def save_slowly(refresh_token):
            await slow_save.wait()
            await save(refresh_token)

        slow._on_rotate = save_slowly
        first = asyncio.create_task(slow.get_token(api))
        await asyncio.sleep(3.5)  # the lock has expired
        await quick.get_token(api)
        slow_save.set()
        await first

        assert saved[-1] == api.latest != saved[-2]

    async def test_different_refusal_after_the_search_is_raised_as_it_is(self, owner):
        class Refusing(RotatingApi):
            async def call_token_endpoint(self, path, **request):
                if self.asked == 1:
                    raise TokenError("the address is not on the list", errcode=61004, endpoint=path)
                return await super().call_token_endpoint(path, **request)

        api = Refusing()
        api.latest = "second"

        with pytest.raises(TokenError, match="the address is not on the list"):
            await owner().get_token(api)

    async def test_lost_grant_is_said_after_two_seconds(self, owner):
        api = RotatingApi(4.5)
        dying = asyncio.create_task(api.call_token_endpoint(AUTHORIZER, body=FIRST))
        await asyncio.sleep(0.1)
        dying.cancel()

        with pytest.raises(
            TokenError, match=r"grant is lost, .*; take .* or have the merchant"
        ) as e:
            await owner().get_token(api)

        assert e.value.errcode == 61023
        assert asyncio.get_running_loop().time() < 2.2


async def test_a_stored_refresh_token_that_is_refused_too(api, merchant):
    store = MemoryStore()
    token = merchant.token(merchant.new_component(store), "a-refresh-token-of-long-ago")
    stored = StoredToken(Secret("a-refresh-token-of-yesterday"), math.inf)
    await store.set(merchant.key, stored, ttl=None)

    with pytest.raises(TokenError, match="61023"):
        await token.get_token(api)


async def test_unsaved_refresh_token_is_not_shown(emulator, merchant, caplog):
    caplog.set_level(logging.DEBUG)
    merchant.rotate()
    merchant.failures = 1
    provider, retry = merchant.token(), RetryPolicy(attempts=1)
    async with TcbClient(provider, base_url=emulator.url, retry=retry) as client:
        with pytest.raises(TcbError, match="on_rotate failed") as caught:
            await client.function_page(ENV)

    said = [*shown_by(caught.value), caplog.text, repr(provider), repr(client)]
    assert [words for words in said if merchant.accepted in words] == []
