"""What may be handed to a client as a token, and what is done with it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

import pytest
from token_kit import ENV, LIST, wechat

from tcb_async import ConfigurationError, TcbClient, TokenError
from tcb_async.emulator import Emulator, token_id
from tcb_async.tokens import CallableToken, Secret, StaticToken, TokenProvider, as_provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tcb_async.tokens import TokenApi

NOT_ASKED = cast("TokenApi", None)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with wechat() as emulator:
        yield emulator


async def test_a_string_is_sent_as_it_is(emulator: Emulator) -> None:
    async with TcbClient(emulator.token, base_url=emulator.url) as client:
        assert await client.count_functions(ENV) == 57

    assert emulator.requests[-1].token_id == token_id(emulator.token)


async def test_a_string_that_is_refused_is_sent_once(emulator: Emulator) -> None:
    emulator.expire_tokens()
    async with TcbClient(emulator.issue_token(life=0), base_url=emulator.url) as client:
        with pytest.raises(TokenError, match="42001"):
            await client.count_functions(ENV)

    assert emulator.counts[LIST] == 1


async def test_a_callable_is_asked_before_each_request_and_once_more_after_a_refusal(
    emulator: Emulator,
) -> None:
    given = [emulator.issue_token(life=0), emulator.token, emulator.token]

    async def next_token() -> str:
        return given.pop(0)

    async with TcbClient(next_token, base_url=emulator.url) as client:
        assert await client.count_functions(ENV) == 57
        assert await client.count_functions(ENV) == 57

    assert given == []


async def test_what_a_callable_raises_is_raised_to_the_caller(emulator: Emulator) -> None:
    async def no_token() -> str:
        raise LookupError("the vault is sealed")

    async with TcbClient(no_token, base_url=emulator.url) as client:
        with pytest.raises(LookupError, match="the vault is sealed"):
            await client.count_functions(ENV)

    assert emulator.counts[LIST] == 0


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "is empty"),
        ("a token", "holds white space"),
        ("planted-token\n", "holds white space"),
        ("planted-token\x00", "holds a control character"),
        (b"planted-token", "is of type bytes"),
        (str(Secret("planted-token")), "is what a Secret shows instead of its text: take what"),
        (None, "is of type NoneType"),
        (StaticToken, "is a class"),
        (lambda: "planted-token", "is not async"),
        (len, "is not async"),
    ],
)
def test_what_cannot_be_a_token_is_refused_without_being_shown(token: object, why: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^token {why}") as caught:
        as_provider(cast("str", token))

    assert "planted" not in str(caught.value)


class Answer:
    """A callable object, of which nobody sees that it is not async before it is called."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __call__(self) -> object:
        return self.answer


async def test_a_callable_object_that_is_not_async_is_refused_when_it_is_asked() -> None:
    token = as_provider(cast("Callable[[], Awaitable[str]]", Answer("planted-token")))

    with pytest.raises(ConfigurationError, match="not async") as caught:
        await token.get_token(NOT_ASKED)

    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("answer", [None, "", "planted token", 7])
async def test_a_callable_that_returns_no_token_is_told_so(answer: object) -> None:
    async def ask() -> object:
        return answer

    token = CallableToken(cast("Callable[[], Awaitable[str]]", ask))

    with pytest.raises(ConfigurationError, match="what the callable returned") as caught:
        await token.get_token(NOT_ASKED)

    assert "planted" not in str(caught.value)


async def test_partials_methods_and_wrapped_functions_are_async_callables_too() -> None:
    async def of(appid: str) -> str:
        return f"token-of-{appid}"

    @functools.wraps(of)
    def wrapped() -> Awaitable[str]:
        return of("c")

    class Vault:
        async def read(self) -> str:
            return await of("b")

    asked = [functools.partial(of, "a"), Vault().read, wrapped]

    tokens = [await as_provider(ask).get_token(NOT_ASKED) for ask in asked]

    assert tokens == ["token-of-a", "token-of-b", "token-of-c"]


async def test_a_provider_is_taken_as_it_is(emulator: Emulator) -> None:
    class OfOurs:
        async def get_token(self, api: TokenApi) -> str:
            assert callable(api.spawn)
            return emulator.token

        async def invalidate(self, token: str) -> None:
            raise AssertionError(token)

    ours = OfOurs()

    assert as_provider(ours) is ours
    async with TcbClient(ours, base_url=emulator.url) as client:
        assert await client.count_functions(ENV) == 57


def test_a_given_token_is_in_no_repr() -> None:
    async def ask() -> str:
        return "planted-token"

    given: list[TokenProvider] = [StaticToken("planted-token"), CallableToken(ask)]

    assert [repr(token) for token in given] == ["StaticToken()", "CallableToken()"]


async def test_a_given_token_survives_being_told_that_it_failed() -> None:
    token = StaticToken("given")

    await token.invalidate("given")

    assert await token.get_token(NOT_ASKED) == "given"
