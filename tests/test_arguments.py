"""Bad input is refused before any I/O, in a sentence that names an accepted value."""

import enum
import inspect
import math

import aiohttp
import pytest

from tcb_async import Account, Inventory, RetryPolicy, StableToken, TcbClient, list_account
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory import Night
from tcb_async.tokens import ComponentToken, RedisStore

SECRET = "0123456789abcdef0123456789abcdef"


async def run(call, *arguments):
    result = call(*arguments)
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("env", ["", None, " test-1", "test\n1", ["test-1"]])
@pytest.mark.parametrize("method", ["functions", "iter_functions", "list_functions"])
async def test_impossible_env_is_refused(method, env):
    with pytest.raises(ConfigurationError, match=r"env=.*test-777bb9"):
        await run(getattr(TcbClient("T"), method), env)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("page_size", 1),
        ("page_size", "20"),
        ("max_items", 10**400),
        ("on_progress", run),
        ("resume", [0] * 100_000),
    ],
)
async def test_walk_refuses_a_bad_argument_by_name_and_value(argument, value):
    for call in (TcbClient("T").functions, TcbClient("T").list_functions):
        with pytest.raises(ConfigurationError) as caught:
            await run(lambda call=call: call("test-1", **{argument: value}))

        assert f"{argument}={value!r:.79}" in str(caught.value)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ("limit", r"function_page\(env, limit=…"),
        ("status", r"if f\."),
        *((name, "not an argument of a walk") for name in ("value", "scope", "concurrency")),
    ],
)
def test_unknown_argument_of_a_walk_gives_advice(argument, advice):
    with pytest.raises(ConfigurationError, match=f"^{argument}=…: .*{advice}"):
        TcbClient("T").functions("test-1", **{argument: 10})


@pytest.mark.parametrize(
    ("argument", "value", "right"),
    [
        ("retry", 3, "RetryPolicy(attempts=3)"),
        ("retry", RetryPolicy, "RetryPolicy"),
        ("observer", "telemetry", "an Observer, such as Telemetry()"),
        ("session", aiohttp.ClientSession, "ClientSession"),
        ("concurrency", 0, "concurrency=0: must be a whole number, 1 or more"),
        ("concurrency", 10**400, "from 1 to"),
        ("timeout", 0, "seconds above 0"),
        ("timeout", math.nan, "seconds above 0"),
        ("timeout", "30", "seconds above 0"),
        ("timeout", True, "seconds above 0"),
        ("allow_http", "false", "must be True or False"),
        ("trust_env", None, "must be True or False"),
    ],
)
def test_client_refuses_wrong_types_and_values_out_of_range(argument, value, right):
    with pytest.raises(ConfigurationError) as caught:
        TcbClient("T", **{argument: value})

    assert str(caught.value).startswith(argument)
    assert right in str(caught.value)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: TcbClient("T").call("/x", repeatable=1), "repeatable=1: must be True or False"),
        (lambda: Account("wx1", "T", envs=10**5000), "envs=<int>: must be a list"),
        (lambda: Inventory("T", []), "client is of type str: must be a TcbClient, such as"),
        (lambda: Inventory(TcbClient("T"), 7), "accounts is of type int: must be an iterable"),
        (lambda: Inventory(TcbClient("T"), [], page_size=1), "page_size=1: "),
        (lambda: list_account(TcbClient("T"), Account("wx1", "T"), page_size=1), "page_size=1: "),
        (lambda: Night(""), "path='': must be the path of a file"),
        (
            lambda: TcbClient("T").call("/x", query={"a": "\ud800"}),
            "query contains 'a' with a text",
        ),
    ],
)
async def test_wrong_argument_is_named(call, reason):
    with pytest.raises(ConfigurationError, match=f"^{reason}") as caught:
        await run(call)

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "call",
    [
        lambda: TcbClient({"token": SECRET}),
        lambda: TcbClient("wx0123456789abcdef", SECRET),
        lambda: TcbClient(appid="wx0123456789abcdef", secret=SECRET),
        lambda: TcbClient("T", base_url=SECRET),
        lambda: TcbClient("T", session=SECRET),
        lambda: TcbClient.from_env(token="T", secret=SECRET),
        lambda: TcbClient("T").with_token([SECRET]),
        lambda: StableToken(SECRET, "wx1"),
        lambda: ComponentToken("wx1", SECRET, ticket=SECRET),
        lambda: RedisStore(f"redis://:{SECRET}@localhost"),
        lambda: Account(SECRET, "wx1"),
        lambda: TcbClient("T").functions("test-1", SECRET),
        lambda: TcbClient("T").authorizers(component_appid=SECRET),
        lambda: TcbClient("T").call(f"/x?access_token={SECRET}"),
        lambda: TcbClient("T").call("/x", {"secret": {SECRET: b""}}),
    ],
)
async def test_misplaced_secret_is_not_shown(call):
    with pytest.raises((ConfigurationError, TypeError)) as caught:
        await run(call)

    assert SECRET not in str(caught.value)


class Name(enum.Enum):
    ENV = "test-777bb9"


class TextName(str, enum.Enum):  # noqa: UP042 - its `str` is not its text, unlike StrEnum's
    ENV = "test-777bb9"


async def test_an_enumeration_of_texts_is_a_text(emulator, client):
    emulator.deploy("test-777bb9", count=1)

    assert len(await client.list_functions(TextName.ENV)) == 1
    await client.call("/tcb/getenvinfo", {"env": TextName.ENV}, query={"env": TextName.ENV})
    assert "TextName" not in str(emulator.requests)
    with pytest.raises(ConfigurationError, match="env="):
        await client.list_functions(Name.ENV)


@pytest.mark.parametrize(
    ("path", "repeatable", "reason"),
    [
        ("/x", 1, r"^repeatable=1: must be True or False"),
        (".example.com/x", True, r"^path='.example.com/x': must be a path such as"),
    ],
)
async def test_a_providers_wrong_argument_is_named(path, repeatable, reason):
    class Provider:
        async def get_token(self, api):
            await api.call_token_endpoint(path, repeatable=repeatable)

        async def invalidate(self, token): ...

    async with TcbClient(Provider()) as client:
        with pytest.raises(ConfigurationError, match=reason):
            await client.function_page("test-1")
