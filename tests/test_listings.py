"""Listings: an endpoint is a row, and its replies are read in all of WeChat's spellings."""

import json
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_server import http_reply

import tcb_async
from tcb_async._listings import (
    AUTHORIZERS,
    BATCH_ENVIRONMENTS,
    BATCH_FUNCTIONS,
    ENVIRONMENTS,
    FUNCTIONS,
)
from tcb_async.exceptions import ResponseError
from tcb_async.models import (
    BatchEnvironment,
    BatchFunction,
    CloudFunction,
    Environment,
    StatusReason,
)

CALLS = {
    FUNCTIONS: lambda it: it.list_functions(ENV),
    ENVIRONMENTS: lambda it: it.list_environments(),
    AUTHORIZERS: lambda it: it.authorizers(component_appid="wx0").collect(),
    BATCH_FUNCTIONS: lambda it: it.batch_functions(ENV).collect(),
    BATCH_ENVIRONMENTS: lambda it: it.list_batch_environments(),
}
"""How a user calls each endpoint."""
LISTINGS = [*CALLS]

SAMPLES = Path(__file__).parent / "samples"
ENV = "test-777bb9"


def decode(body, listing=FUNCTIONS, **overrides):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return listing.reader.read(raw, **overrides)


@pytest.mark.parametrize(
    ("listing", "sample", "fields", "limit"),
    [
        (ENVIRONMENTS, "getenvinfo", {}, 20),
        (AUTHORIZERS, "getauthorizerlist", {"component_appid": "appid_value"}, 100),
    ],
)
def test_request_is_the_documented_request(listing, sample, fields, limit):
    documented = json.loads((SAMPLES / f"{sample}_request.json").read_bytes())
    assert json.loads(listing.encode(fields, 0, limit)) == documented


def test_batch_request_contains_the_documented_fields():
    documented = json.loads((SAMPLES / "getscflist_request.json").read_bytes())
    sent = json.loads(BATCH_FUNCTIONS.encode(documented, 0, 20))
    assert sent == {**documented, "limit": 20, "offset": 0}


def sample_of(listing):
    """WeChat's documented reply."""
    name = listing.path.rpartition("/")[2].removeprefix("api_").replace("_", "")
    return (SAMPLES / f"{name}_reply.json").read_bytes()


@pytest.fixture(params=LISTINGS, ids=lambda listing: listing.path)
def listing(request):
    return request.param


async def test_each_listing_has_a_method_a_path_and_a_token_parameter(serve, listing):
    empty = http_reply({"errcode": 0, "total_count": 0, "info_list": []})
    server, client = await serve(empty)
    assert list(await CALLS[listing](client)) == []

    is_cloud = listing.path.startswith(("/tcb/", "/componenttcb/"))
    parameter = "access_token" if is_cloud else "component_access_token"
    assert [it.target for it in server.requests] == [f"{listing.path}?{parameter}=TOKEN"]


def test_each_listing_has_a_public_item(listing):
    assert getattr(tcb_async, listing.item.__name__) is listing.item


def made_by_hand(item, row):
    """The value that a user would make of a documented row."""
    row = dict(row)
    if "status_reason" in row:
        row["status_reason"] = tuple(StatusReason(**reason) for reason in row["status_reason"])
    if "auth_time" in row:
        assert row["auth_time"] == 1558000607
        row["auth_time"] = "2019-05-16 17:56:47"
    return item(**row)


def test_documented_reply_gives_documented_values(listing):
    body = sample_of(listing)
    reply = json.loads(body)
    made = tuple(made_by_hand(listing.item, row) for row in reply[listing.rows_key])

    page = listing.reader.read(body)

    assert page.total == reply.get("total_count", 1)
    assert page.items == made
    assert list(map(hash, page.items)) == list(map(hash, made))
    assert repr(page.items) == repr(made)  # which shows that times are in China's zone
    assert [item.to_dict() for item in page.items] == [item.to_dict() for item in made]


ROW = {"name": "a", "status": "Active"}


@pytest.mark.parametrize(
    ("listing", "reply", "items"),
    [
        (FUNCTIONS, {"errcode": 0}, ()),
        (FUNCTIONS, {"functions": None}, ()),
        (FUNCTIONS, {"functions": []}, ()),
        (FUNCTIONS, {"functions": [ROW | {"new": [1]}]}, (CloudFunction("a", "Active"),)),
        (
            FUNCTIONS,
            {
                "functions": [
                    ROW | {"run_time": "Php7"},
                    ROW | {"runtime": None, "run_time": "Go1"},
                    ROW | {"runtime": None},
                    ROW | {"runtime": "Go1", "run_time": "Php7"},
                ]
            },
            tuple(CloudFunction("a", "Active", name) for name in ("Php7", "Go1", None, "Go1")),
        ),
        (
            ENVIRONMENTS,
            {"info_list": [{"env": "a", "alias": None, "create_time": "", "more": 1}]},
            (Environment("a"),),
        ),
        (ENVIRONMENTS, {"errcode": 0, "info_list": None, "total_count": 0}, ()),
        (ENVIRONMENTS, {"errcode": 0, "info_list": [], "total_count": 0}, ()),
        (
            BATCH_ENVIRONMENTS,
            {"info_list": [{"env": "a", "update_ime": "2020-04-04 14:10:36"}]},
            (BatchEnvironment("a", update_time="2020-04-04 14:10:36"),),
        ),
        (
            BATCH_FUNCTIONS,
            {"functions": [ROW | {"status_reason": None}]},
            (BatchFunction("a", "Active"),),
        ),
    ],
)
def test_missing_null_and_new_fields_are_accepted(listing, reply, items):
    assert decode({"total_count": 1} | reply, listing).items == items


@pytest.mark.parametrize("old_name", [{}, {"run_time": "Php7"}], ids=["documented", "older page"])
def test_times_are_in_chinas_zone(old_name):
    row = {"name": "a", "status": "Active", **old_name}
    times = {"add_time": "2019-02-27 15:34:59", "mod_time": "2019-02-27T15:34:59+02:00"}

    page = decode({"total_count": 1, "functions": [row | times]})

    (function,) = page.items
    assert function.add_time.isoformat() == "2019-02-27T15:34:59+08:00"
    assert function.mod_time.isoformat() == "2019-02-27T21:34:59+08:00"


@pytest.mark.parametrize("text", ["", "0000-00-00 00:00:00", "yesterday", "2019-13-01 00:00:00"])
def test_invalid_time_becomes_none(text):
    good = {"name": "a", "status": "Active", "mod_time": "2019-02-27 15:34:59"}

    page = decode({"total_count": 2, "functions": [good | {"add_time": text}, good]})

    assert page.items == (
        CloudFunction("a", "Active", mod_time="2019-02-27 15:34:59"),
        CloudFunction("a", "Active", mod_time="2019-02-27 15:34:59"),
    )


@pytest.mark.parametrize("seconds", [1551252899, 1551252899.0])
def test_time_in_unix_seconds_is_understood(seconds):
    row = {"name": "a", "status": "Active", "add_time": seconds, "mod_time": 10**30}

    (function,) = decode({"total_count": 1, "functions": [row]}).items

    assert function == CloudFunction("a", "Active", add_time="2019-02-27 15:34:59")
    assert function.add_time.utcoffset() == timedelta(hours=8)


@pytest.mark.parametrize(
    ("listing", "reply"),
    [
        (ENVIRONMENTS, {"info_list": [{}]}),
        (ENVIRONMENTS, {"info_list": 5}),
        (ENVIRONMENTS, []),
        # An error in an unknown format must not look like an account without environments.
        *((ENVIRONMENTS, {**reply, "errcode": None}) for reply in ({}, {"info_list": []})),
        *(
            (listing, reply)
            for listing in (ENVIRONMENTS, BATCH_ENVIRONMENTS)
            for reply in (
                {},
                {"errcode": 0},
                {"errCode": -1, "errMsg": "busy"},
                {"code": 48001},
                {"ret": -1},
                {"error": {}},
                {"info_list": None},
                {"info_list": []},
                {"errCode": -1, "info_list": []},
                {"errcode": 0, "info_list": None, "total": 1},
                {"errcode": 0, "info_list": [], "Total": 1},
                *({"info_list": [{"env": "a"}], key: 21} for key in ("total", "Total")),
            )
        ),
    ],
)
def test_reply_that_is_not_as_documented_is_a_response_error(listing, reply):
    with pytest.raises(ResponseError, match=listing.path):
        decode(reply, listing)


@given(
    st.datetimes(timezones=st.none() | st.just(UTC)).filter(lambda time: time.year < 9999),
    st.sampled_from(["T", " ", "x"]),
)
def test_every_iso_time_is_read(time, separator):
    texts = [
        time.isoformat(separator),
        time.isoformat(separator, "minutes"),
        time.strftime(f"{time.year:04}%m%d{separator}%H%M%S"),
        time.date().isoformat(),
    ]
    rows = [ROW | {"add_time": text} for text in texts]

    page = decode({"total_count": len(rows), "functions": rows})

    assert [function.add_time for function in page.items] == [
        CloudFunction("a", "Active", add_time=text).add_time for text in texts
    ]


def test_time_outside_the_calendar_is_missing():
    row = ROW | {"add_time": "9999-12-31T23:00:00Z"}
    page = decode({"total_count": 1, "functions": [row]})
    assert page.items == (CloudFunction("a", "Active"),)
