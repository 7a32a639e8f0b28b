"""Whatever bytes a reply consists of, a page, a token reply or one of our exceptions comes out."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcb_async._codec import decode_token_reply, encode_object
from tcb_async._listings import FUNCTIONS
from tcb_async._redact import MASK, Secret
from tcb_async.exceptions import ApiError, ResponseError, SystemBusyError, TcbError, TokenError
from tcb_async.models import FunctionPage

TOKEN = "74_Xq9k2f0Vb3nT7wLzR5sYc8uJd1hGmPaE6oQiBvNxKt"


def decode(body, **overrides):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FUNCTIONS.decode(raw, offset=0, limit=20, **overrides)  # type: ignore[arg-type]


def test_text_is_sent_as_utf8_and_not_escaped():
    assert "环境" in FUNCTIONS.encode({"env": "环境"}, 0, 1).decode("utf-8")
    assert encode_object({"a": "票"}) == '{"a":"票"}'.encode()


@pytest.mark.parametrize("errcode", [-1, "-1", "-1000"])
def test_an_errcode_may_be_a_numeric_string(errcode):
    with pytest.raises(SystemBusyError) as caught:
        decode({"errcode": errcode, "errmsg": "system error"})

    assert caught.value.errcode in {-1, -1000}


def test_the_string_zero_is_success():
    assert decode({"errcode": "0", "errmsg": None, "total_count": 0}).total_count == 0


def test_an_errcode_that_is_no_number_is_not_what_the_api_promises():
    with pytest.raises(ResponseError, match="no number"):
        decode({"errcode": "busy"})


@pytest.mark.parametrize(
    ("errmsg", "rid", "text"),
    [
        (
            "invalid credential rid: 61249f85-43a93e56-534b607a",
            "61249f85-43a93e56-534b607a",
            "invalid credential",
        ),
        ("invalid appid hint: [ab12_cd]", "ab12_cd", "invalid appid"),
        ("system error", None, "system error"),
        (None, None, ""),
    ],
)
def test_the_request_id_is_parsed_out_of_errmsg(errmsg, rid, text):
    with pytest.raises(TokenError) as caught:
        decode({"errcode": 40014, "errmsg": errmsg})

    assert (caught.value.rid, caught.value.errmsg) == (rid, text)
    assert rid is None or rid in str(caught.value)


@pytest.mark.parametrize(
    "errmsg",
    [
        "rid: 74Xq9k2f0Vb3nT7wLzR5sYc8",
        "rid: 0123456789abcdef0123456789abcdef",
        "hint: [" + "x" * 99,
    ],
)
def test_what_only_looks_like_a_request_id_is_not_taken_for_one(errmsg):
    with pytest.raises(TokenError) as caught:
        decode({"errcode": 40014, "errmsg": errmsg})

    assert caught.value.rid is None


def test_a_hostile_errmsg_costs_no_time():
    started = time.thread_time()
    with pytest.raises(TokenError):
        decode({"errcode": 40014, "errmsg": " " * 2**15 + "x"})

    assert time.thread_time() - started < 0.5


def test_an_error_reply_is_understood_even_where_its_rows_are_not():
    with pytest.raises(SystemBusyError):
        decode({"errcode": -1, "errmsg": "busy", "functions": "none", "total_count": "many"})


CUT_SHORT = [
    b"",
    b" \n",
    b'{"errcode":0,"tot',
    b'{"errcode":0,"errmsg":"\xe7\x8e',
    b'{"errcode":0,"total_count":57,"functions":[{"name":"log',
]
NOT_AS_PROMISED = [
    b"<html><body>502 Bad Gateway</body></html>",
    b"{}",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"functions":' + b"[" * 100_000,
    b'{"errcode":NaN}',
    b'{"errcode":0,"total_count":NaN}',
    b'{"errcode":0,"total_count":9223372036854775808,"functions":[]}',
    b'{"errcode":0,"errmsg":"ok"}',
    b'{"errcode":0,"total_count":1,"functions":[{"name":"a"}]}',
    b'{"errcode":0,"total_count":1,"functions":[{"name":"a","status":"Active","add_time":[]}]}',
    b'{"errcode":{},"total_count":1}',
]
"""More of it, over a socket, is in ``server_faults.py``."""


@pytest.mark.parametrize("body", CUT_SHORT + NOT_AS_PROMISED, ids=lambda body: repr(body[:40]))
def test_what_the_api_does_not_promise_is_a_response_error_and_json_that_ends_early_is_truncated(
    body,
):
    with pytest.raises(ResponseError) as caught:
        decode(body)

    assert caught.value.truncated == (body in CUT_SHORT)
    assert caught.value.endpoint == "/tcb/listfunctions"
    assert len(str(caught.value)) < 500
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)


def test_no_secret_that_the_server_sends_back_is_shown():
    bodies = [
        {"errcode": 40014, "errmsg": f"bad access_token={TOKEN} rid: 1-2-3"},
        {"errcode": f"{TOKEN}"},
        {"errcode": 0, "leak": TOKEN},
        f"<html>{TOKEN}</html>".encode(),
        f"<html>{TOKEN[:20]}%0A</html>".encode() + TOKEN.encode(),
    ]
    for body in bodies:
        with pytest.raises(TcbError) as caught:
            decode(body, secrets=[Secret(TOKEN)])
        shown = f"{caught.value!r} {caught.value.args} {vars(caught.value)}"
        assert TOKEN not in shown
        assert MASK in shown or "total_count" in shown


def test_a_token_reply_is_a_plain_object():
    reply = decode_token_reply(b'{"access_token":"T","expires_in":7200}', "/cgi-bin/stable_token")

    assert reply == {"access_token": "T", "expires_in": 7200}


def test_a_token_endpoint_names_the_remedy_and_the_ip_that_wechat_names():
    body = b'{"errcode":40164,"errmsg":"invalid ip 1.2.3.4, not in whitelist rid: 1-2-3"}'

    with pytest.raises(TokenError, match=r"1\.2\.3\.4.*IP whitelist"):
        decode_token_reply(body, "/cgi-bin/stable_token")


@pytest.mark.parametrize("body", [b"[]", b"", b'"T"', b"{"])
def test_a_token_reply_that_is_no_object_is_a_response_error(body):
    with pytest.raises(ResponseError):
        decode_token_reply(body, "/cgi-bin/token")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
known_keys = st.sampled_from(["errcode", "errmsg", "total_count", "functions", "name", "status"])
replies = st.dictionaries(known_keys | st.text(), json_values).map(lambda d: json.dumps(d).encode())


@given(st.binary() | replies)
def test_of_any_bytes_only_a_page_or_our_errors_come_out(body):
    try:
        outcome: object = decode(body)
    except (ApiError, ResponseError) as error:
        outcome = error

    match outcome:
        case FunctionPage():
            assert outcome.total_count >= 0
        case ApiError():
            assert outcome.errcode != 0
        case _:
            assert "/tcb/listfunctions" in str(outcome)
