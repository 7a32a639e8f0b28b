"""What can be listed: a listing is a row, and its replies are read however WeChat writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import attrs
import pytest
from raw_server import RawServer, http_reply

from tcb_async import RetryPolicy, TcbClient
from tcb_async._listings import FUNCTIONS, ListEndpoint
from tcb_async.client import ListingPager
from tcb_async.exceptions import ResponseError
from tcb_async.models import CloudFunction, StatusReason, Value
from tcb_async.pagination.page import Page

if TYPE_CHECKING:
    from tcb_async import WalkOptions

SAMPLES = Path(__file__).parents[1] / "samples"
NEW_YORK = timezone(timedelta(hours=-5))


def decode(body, **overrides):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FUNCTIONS.decode(raw, **overrides)  # type: ignore[arg-type]


def test_the_documented_request_is_what_we_send():
    documented = json.loads((SAMPLES / "listfunctions_request.json").read_bytes())

    sent = json.loads(FUNCTIONS.encode({"env": "test-777bb9"}, 0, 20))
    assert sent == documented
    assert list(sent) == list(documented)


def test_the_documented_reply_gives_the_documented_function():
    page = decode((SAMPLES / "listfunctions_reply.json").read_bytes())

    assert page.total_count == 1
    assert page.functions == (
        CloudFunction("login", "Active", "Nodejs8.9", "2019-02-27 15:34:59", "2019-06-21 15:23:54"),
    )
    assert page.functions[0].add_time is not None
    assert page.functions[0].add_time.isoformat() == "2019-02-27T15:34:59+08:00"


@pytest.mark.parametrize("functions", [{}, {"functions": None}, {"functions": []}])
def test_absent_null_and_empty_functions_all_mean_none(functions):
    assert decode({"errcode": 0, "total_count": 0} | functions).functions == ()


def test_a_row_may_lack_everything_but_name_and_status():
    page = decode({"total_count": 1, "functions": [{"name": "a", "status": "Brewing", "new": [1]}]})

    assert page.functions == (CloudFunction("a", "Brewing"),)
    assert page.functions[0].runtime is None
    assert page.functions[0].add_time is None


def test_run_time_is_read_as_runtime():
    rows = [
        {"name": "a", "status": "Active", "run_time": "Php7"},
        {"name": "b", "status": "Active", "runtime": None, "run_time": "Go1"},
        {"name": "c", "status": "Active", "runtime": None},
        {"name": "d", "status": "Active", "runtime": "Go1", "run_time": "Php7"},
    ]

    page = decode({"total_count": 4, "functions": rows})

    assert [f.runtime for f in page.functions] == ["Php7", "Go1", None, "Go1"]


@pytest.mark.parametrize("zone", [NEW_YORK, UTC, ZoneInfo("Asia/Shanghai")], ids=str)
@pytest.mark.parametrize("old_name", [{}, {"run_time": "Php7"}], ids=["documented", "older page"])
def test_a_time_is_in_the_zone_of_the_client_unless_it_names_its_own(zone, old_name):
    row = {"name": "a", "status": "Active", **old_name}
    times = {"add_time": "2019-02-27 15:34:59", "mod_time": "2019-02-27T15:34:59+02:00"}

    page = decode({"total_count": 1, "functions": [row | times]}, zone=zone)

    (function,) = page.functions
    assert function.add_time == datetime(2019, 2, 27, 15, 34, 59, tzinfo=zone)
    assert function.mod_time == datetime(2019, 2, 27, 13, 34, 59, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "0000-00-00 00:00:00", "yesterday", "2019-13-01 00:00:00"])
def test_a_text_that_is_no_time_is_none_and_spoils_nothing_else(text):
    good = {"name": "a", "status": "Active", "mod_time": "2019-02-27 15:34:59"}

    page = decode({"total_count": 2, "functions": [good | {"add_time": text}, good]})

    assert page.functions == (
        CloudFunction("a", "Active", mod_time="2019-02-27 15:34:59"),
        CloudFunction("a", "Active", mod_time="2019-02-27 15:34:59"),
    )


@pytest.mark.parametrize("seconds", [1551252899, 1551252899.0])
def test_a_time_in_unix_seconds_is_understood(seconds):
    row = {"name": "a", "status": "Active", "add_time": seconds, "mod_time": 10**30}

    (function,) = decode({"total_count": 1, "functions": [row]}).functions

    assert function == CloudFunction("a", "Active", add_time="2019-02-27 15:34:59")
    assert function.add_time is not None
    assert function.add_time.utcoffset() == timedelta(hours=8)


@attrs.frozen
class Collection(Value):
    name: str
    count: int = 0


COLLECTIONS = ListEndpoint(
    "/tcb/databasecollectionget",
    Page[Collection],
    Collection,
    identify=attrgetter("name"),
    rows="collections",
    total="pager.Total",
)


class Client(TcbClient):
    def collections(self, env, **options):
        return self._walk(ListingPager[Collection], COLLECTIONS, env, {"env": env}, options)


def answer_with_collections(request, _):
    asked = json.loads(request.partition(b"\r\n\r\n")[2])
    start, limit = asked["offset"], asked["limit"]
    rows = [{"name": f"c{n}", "count": n} for n in range(57)][start : start + limit]
    pager = {"Offset": start, "Limit": limit, "Total": 57}
    return http_reply({"errcode": 0, "errmsg": "ok", "pager": pager, "collections": rows})


async def test_a_new_endpoint_costs_one_model_one_row_and_one_method():
    async with (
        RawServer(answer_with_collections) as server,
        Client("TOKEN", base_url=server.url) as client,
        client.collections("test-777bb9", page_size=10) as pager,
    ):
        found = await pager.collect()

    assert found == [Collection(f"c{n}", n) for n in range(57)]
    assert pager.total == 57
    assert pager.cursor.scope == "test-777bb9"
    assert {request.target for request in server.requests} == {
        "/tcb/databasecollectionget?access_token=TOKEN"
    }
    assert server.requests[0].body == b'{"env":"test-777bb9","limit":10,"offset":0}'


async def test_whatever_ends_a_walk_says_which_environment_it_was():
    beyond = http_reply({"pager": {"Total": 1}, "collections": [{"name": "a"}, {"name": "b"}]})
    async with (
        RawServer(beyond) as server,
        Client("TOKEN", base_url=server.url, retry=RetryPolicy(sleep=no_time)) as client,
    ):
        with pytest.raises(ResponseError, match="asked for 100 rows") as caught:
            await client.collections("test-777bb9").collect()

    assert (caught.value.env, caught.value.offset) == ("test-777bb9", 0)


async def no_time(_seconds): ...


@pytest.mark.parametrize("pager", [None, {}, {"Total": None}, {"Total": -1}, {"Total": "many"}, 5])
def test_a_nested_total_that_is_missing_is_a_response_error(pager):
    with pytest.raises(ResponseError):
        COLLECTIONS.decode(json.dumps({"pager": pager, "collections": []}).encode())


@attrs.frozen
class Merchant:
    authorizer_appid: str
    auth_time: datetime | None = None


MERCHANTS = ListEndpoint(
    "/cgi-bin/component/api_get_authorizer_list",
    Page[Merchant],
    Merchant,
    identify=attrgetter("authorizer_appid"),
    rows="list",
    limit="count",
    token="component_access_token",
    max_page=500,
)


def answer_with_merchants(_request, _):
    return http_reply({"total_count": 1, "list": [{"authorizer_appid": "wx1", "auth_time": 1}]})


async def test_a_row_names_its_keys_its_kind_of_token_and_its_largest_page():
    async with (
        RawServer(answer_with_merchants) as server,
        TcbClient("TOKEN", base_url=server.url) as client,
    ):
        options: WalkOptions = {"page_size": 500}
        pager = client._walk(
            ListingPager[Merchant], MERCHANTS, "wx0", {"component_appid": "wx0"}, options
        )
        (merchant,) = await pager.collect()
        with pytest.raises(ValueError, match=r"page_size=501: .* from 1 to 500"):
            client._walk(ListingPager[Merchant], MERCHANTS, "wx0", {}, {"page_size": 501})

    assert merchant == Merchant("wx1", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    (request,) = server.requests
    assert request.target.endswith("?component_access_token=TOKEN")
    assert request.body == b'{"component_appid":"wx0","count":500,"offset":0}'


def test_a_listing_without_pages_is_asked_for_whole():
    whole = ListEndpoint(
        "/tcb/x", Page[Merchant], Merchant, attrgetter("authorizer_appid"), rows="list", total=None
    )

    assert whole.encode({}, 0, 20) == b"{}"
    page = whole.decode(b'{"errcode":0,"list":[{"authorizer_appid":"wx1"}]}')
    assert (page.items, page.total) == ((Merchant("wx1"),), 1)


@attrs.frozen
class BatchFunction(CloudFunction):
    status_reason: tuple[StatusReason, ...] = ()


def test_a_row_may_hold_values_of_its_own():
    listing = ListEndpoint("/x", Page[BatchFunction], BatchFunction, attrgetter("name"))
    reason = {"errcode": "ResourceNotFound.File", "errmsg": "no such file"}
    row = {"name": "a", "status": "CreateFailed", "add_time": "2019-02-27 15:34:59"}
    rows = [row | {"status_reason": [reason]}, row | {"status_reason": None}]

    (failed, silent) = listing.decode(
        json.dumps({"total_count": 2, "functions": rows}).encode()
    ).items

    assert failed.status_reason == (StatusReason("ResourceNotFound.File", "no such file"),)
    assert json.loads(json.dumps(failed.to_dict()))["status_reason"] == [reason]
    assert silent.status_reason == ()
    assert silent.add_time == datetime.fromisoformat("2019-02-27T15:34:59+08:00")
