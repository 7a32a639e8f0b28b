"""Bad input is refused before any I/O, in a sentence that names an accepted value."""

import math

import aiohttp
import pytest

from tcb_async import RetryPolicy, TcbClient
from tcb_async.exceptions import ConfigurationError
from tcb_async.otel import Telemetry


@pytest.mark.parametrize("env", ["", None, 7, b"test-1", " test-1", "test\n1", ["test-1"]])
async def test_impossible_env_is_refused_by_every_method(env):
    async with TcbClient("T") as client:
        for call in (client.functions, client.iter_functions, client.iter_pages):
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
        ("on_drift", []),
        ("on_drift", "ignore"),
        ("on_progress", listen),
        ("resume", 5),
    ],
)
async def test_walk_refuses_a_bad_argument_by_name_and_value(argument, value):
    async with TcbClient("T") as client:
        for call in (client.functions, client.iter_functions, client.iter_pages):
            with pytest.raises(ConfigurationError) as caught:
                call("test-1", **{argument: value})

            assert f"{argument}={value!r:.79}" in str(caught.value)


ONE_PAGE = r"page_size.*max_items.*function_page\(env, limit=…, offset=…\)"
FILTER = r"page_size.*if f\."


@pytest.mark.parametrize(
    ("argument", "advice"),
    [("limit", ONE_PAGE), ("offset", ONE_PAGE), ("status", FILTER), ("pagesize", FILTER)],
)
def test_unknown_argument_of_a_walk_gives_advice(argument, advice):
    with pytest.raises(ConfigurationError, match=f"{argument}=10: .*{advice}"):
        TcbClient("T").functions("test-1", **{argument: 10})


SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "call",
    [
        TcbClient,
        lambda: TcbClient("wx0123456789abcdef", SECRET),
        lambda: TcbClient(appid="wx0123456789abcdef", secret=SECRET),
        lambda: TcbClient("T", secret=SECRET),
        lambda: TcbClient.from_env(token="T", secret=SECRET),
        lambda: TcbClient("T").functions("test-1", SECRET),
        lambda: TcbClient("T").list_functions("test-1", SECRET),
    ],
)
def test_wrong_signature_is_pythons_error_and_shows_no_secret(call):
    with pytest.raises(TypeError, match="argument") as caught:
        call()

    shown = [str(caught.value), *(repr(each.frame.f_locals) for each in caught.traceback[2:])]
    assert SECRET not in "".join(shown)


class HalfAnObserver:
    def attempting(self, attempt): ...


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
        ("ssl_context", True, "SSLContext"),
        ("time_zone", 8, "timezone(timedelta(hours=8))"),
        ("time_zone", "Asia/Shanghai", "tzinfo"),
        ("observer", HalfAnObserver(), "attempting and walk_started"),
        ("observer", Telemetry, "attempting and walk_started"),
        ("observer", Unshowable(), "<Unshowable>"),
        ("retry", Unshowable(), "is of type Unshowable"),
        ("concurrency", 10**400, "from 1 to"),
        pytest.param("concurrency", 10**5000, "from 1 to", id="5000-digits"),
        ("concurrency", 0, "concurrency=0: must be a whole number, 1 or more"),
        ("max_reply_bytes", 0, "max_reply_bytes=0: must be a whole number, 1 or more"),
        ("max_reply_bytes", 1.5, "whole number"),
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
