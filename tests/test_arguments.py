"""Bad input is refused before any I/O, in a sentence that names an accepted value."""

import enum
import inspect
import math
import re

import aiohttp
import pytest

from tcb_async import (
    Account,
    CloudFunction,
    Cursor,
    RetryPolicy,
    StableToken,
    TcbClient,
)
from tcb_async.compare import compare
from tcb_async.exceptions import ConfigurationError
from tcb_async.fastapi import problem_of, status_of
from tcb_async.tokens import ClassicToken


@pytest.mark.parametrize("env", ["", None, 7, b"test-1", " test-1", "test\n1", ["test-1"]])
async def test_impossible_env_is_refused_by_every_method(env):
    async with TcbClient("T") as client:
        for call in (client.functions, client.iter_functions):
            with pytest.raises(ConfigurationError, match=r"env=.*test-777bb9"):
                call(env)
        for call in (client.function_page, client.list_functions, client.count_functions):
            with pytest.raises(ConfigurationError, match="env="):
                await call(env)


async def listen(done, total): ...


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("page_size", 1),
        ("page_size", 10**400),
        ("page_size", 2.0),
        ("page_size", "20"),
        ("concurrency", 0),
        ("max_items", 10**400),
        ("on_progress", listen),
        ("resume", 5),
        ("resume", [0] * 100_000),
    ],
)
async def test_walk_refuses_a_bad_argument_by_name_and_value(argument, value):
    async with TcbClient("T") as client:
        for call in (client.functions, client.iter_functions):
            with pytest.raises(ConfigurationError) as caught:
                call("test-1", **{argument: value})

            assert f"{argument}={value!r:.79}" in str(caught.value)
            assert len(str(caught.value)) < 200


ONE_PAGE = r"page_size.*max_items.*function_page\(env, limit=…, offset=…\)"
FILTER = r"page_size.*if f\."


@pytest.mark.parametrize(
    ("argument", "advice"),
    [("limit", ONE_PAGE), ("offset", ONE_PAGE), ("status", FILTER), ("pagesize", FILTER)],
)
def test_unknown_argument_of_a_walk_gives_advice(argument, advice):
    with pytest.raises(ConfigurationError, match=f"^{argument}=…: .*{advice}"):
        TcbClient("T").functions("test-1", **{argument: 10})


SECRET = "0123456789abcdef0123456789abcdef"


async def run(call, *arguments):
    result = call(*arguments)
    if inspect.isawaitable(result):
        await result


async def no_ticket(): ...


class Unshowable:
    def __repr__(self):
        raise LookupError


@pytest.mark.parametrize(
    ("argument", "value", "right"),
    [
        ("retry", 3, "RetryPolicy(attempts=3)"),
        ("retry", None, "RetryPolicy"),
        ("retry", RetryPolicy, "RetryPolicy"),
        ("session", "session", "ClientSession"),
        ("session", aiohttp.ClientSession, "ClientSession"),
        ("time_zone", 8, "timezone(timedelta(hours=8))"),
        ("time_zone", "Asia/Shanghai", "tzinfo"),
        ("retry", Unshowable(), "is of type Unshowable"),
        ("concurrency", 10**400, "from 1 to"),
        pytest.param("concurrency", 10**5000, "from 1 to", id="5000-digits"),
        ("concurrency", 0, "concurrency=0: must be a whole number, 1 or more"),
        *(
            ("timeout", value, "seconds above 0")
            for value in (0, -1, math.inf, math.nan, "30", None, True, 10**400)
        ),
    ],
)
def test_client_refuses_wrong_types_and_values_out_of_range(argument, value, right):
    with pytest.raises(ConfigurationError) as caught:
        TcbClient("T", **{argument: value})

    assert str(caught.value).startswith(argument)
    assert right in str(caught.value)


async def call_token_endpoint(value):
    client = TcbClient("T")
    await client._api.call_token_endpoint("/x", repeatable=value)


FLAGS = {
    "TcbClient(allow_http)": lambda value: TcbClient("T", allow_http=value),
    "TcbClient(trust_env)": lambda value: TcbClient("T", trust_env=value),
    "TcbClient.call(repeatable)": lambda value: TcbClient("T").call("/x", repeatable=value),
    "TokenApi.call_token_endpoint(repeatable)": call_token_endpoint,
    "compare(times)": lambda value: compare([], [], times=value),
    "from_env(allow_http)": lambda value: TcbClient.from_env(token="T", allow_http=value),
}


@pytest.mark.parametrize("flag", FLAGS)
async def test_flag_is_true_or_false(flag):
    name = re.search(r"\((\w+)\)", flag)[1]
    for value in ("false", "", "no", 0, 1, None, [], "x " * 50_000):
        with pytest.raises(ValueError, match=rf"{name}=.*: must be True or False$") as caught:
            await run(FLAGS[flag], value)

        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: problem_of(ValueError("x")), "error is of type ValueError: must be a TcbError"),
        (lambda: status_of(None), "error is of type NoneType: must be a TcbError"),
        (lambda: compare([], [], ignore="x " * 50_000), "ignore='[x ]{79}…: must be a list"),
        (lambda: Account("wx1", "T", envs=10**5000), "envs=<int>: must be a list"),
    ],
)
async def test_wrong_argument_is_named(call, reason):
    with pytest.raises(ConfigurationError, match=f"^{reason}") as caught:
        await run(call)

    assert len(str(caught.value)) < 200


class Text(str):
    """A subclass of str, as numpy's, ruamel's and Markup: its methods are not those of str."""

    __slots__ = ()

    def hide(self, *_arguments):
        return "not the text"

    __str__ = __format__ = __add__ = __radd__ = strip = lower = rstrip = hide  # type: ignore[assignment]


class Name(Text, enum.Enum):
    ENV = "test-777bb9"


APPID = "wx0123456789abcdef"


async def call_with(emulator, call, token=None, base_url=""):
    async with TcbClient(token or emulator.token, base_url=base_url or emulator.url) as client:
        return await call(client)


def count_with(token):
    async def count(emulator):
        return await call_with(
            emulator, lambda client: client.count_functions("test-777bb9"), token
        )

    return count


async def count_at_a_text(emulator):
    def count(client):
        return client.count_functions(Text("test-777bb9"))

    return await call_with(emulator, count, Text(emulator.token), Text(emulator.url))


async def return_text():
    return Text("TOKEN")


def call(path="/tcb/getenvinfo", body=None, query=None):
    async def send(emulator):
        return await call_with(emulator, lambda client: client.call(path, body, query=query))

    return send


TEXTS = {
    "env, token, base_url": count_at_a_text,
    "env of an enumeration": lambda emulator: call_with(
        emulator, lambda client: client.count_functions(Name.ENV)
    ),
    "StableToken": count_with(StableToken(Text(APPID), Text(SECRET))),
    "ClassicToken": count_with(ClassicToken(Text(APPID), Text(SECRET))),
    "token of a callable": lambda emulator: call_with(
        emulator, lambda client: client.get_token(), return_text
    ),
    "path": call(Text("/tcb/getenvinfo")),
    "body": call(body={Text("token"): Text("abc"), "more": [{Text("env"): Name.ENV}]}),
    "query": call(query={Text("env"): Text("test-777bb9"), Name.ENV: Name.ENV}),
    "name": lambda emulator: call_with(
        emulator, lambda client: client.wait_until_active("test-777bb9", Text("fn-0001"))
    ),
    "resume": lambda emulator: call_with(
        emulator,
        lambda client: client.list_functions(
            "test-777bb9", resume=Text(str(Cursor("test-777bb9")))
        ),
    ),
    "model": lambda _: CloudFunction(Text("a"), Text("b")).to_dict(),
}


@pytest.mark.parametrize("use", TEXTS)
async def test_subclass_of_str_is_a_str(emulator, use):
    emulator.deploy("test-777bb9", count=1)
    emulator.add_app(APPID, SECRET)

    await run(TEXTS[use], emulator)

    assert not any("not the text" in str(request) for request in emulator.requests)


def test_scope_of_a_walk_is_plain_text():
    walk = TcbClient("T").batch_functions(Name.ENV, searchkey=Text("pay"))

    assert walk.cursor.scope == "test-777bb9?searchkey=pay"
