"""Any reply becomes a page, a token reply or a `TcbError`."""

import json
import re
import time
from operator import attrgetter
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from constants import LIST, STABLE
from hypothesis import example, given
from hypothesis import strategies as st

from tcb_async import exceptions
from tcb_async._codec import decode_reply, encode_body, raise_for_errcode
from tcb_async._listings import FUNCTIONS
from tcb_async._redact import HIDDEN_TEXT, Secret
from tcb_async.exceptions import (
    ApiError,
    RateLimitError,
    ResponseError,
    SystemBusyError,
    TcbError,
    TokenError,
)
from tcb_async.pagination import Page
from tcb_async.tokens.refresh import read_token_reply

TOKEN = "74_Xq9k2f0Vb3nT7wLzR5sYc8uJd1hGmPaE6oQiBvNxKt"


def decode(body, **overrides):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FUNCTIONS.reader.read(raw, **overrides)  # type: ignore[arg-type]


def test_text_is_sent_as_unescaped_utf8():
    assert "环境" in FUNCTIONS.encode({"env": "环境"}, 0, 1).decode("utf-8")
    assert encode_body({"a": "票"}) == '{"a":"票"}'.encode()


@pytest.mark.parametrize("errcode", [-1, "-1", "-1000"])
def test_errcode_may_be_a_numeric_string(errcode):
    with pytest.raises(SystemBusyError) as caught:
        decode({"errcode": errcode, "errmsg": "system error"})

    assert caught.value.errcode == int(errcode)


def test_the_string_zero_is_success():
    assert decode({"errcode": "0", "errmsg": None, "total_count": 0}).total == 0


@pytest.mark.parametrize("errcode", ["busy", 2**63, -(2**63)])
def test_invalid_errcode_is_a_response_error(errcode):
    with pytest.raises(ResponseError, match="sent an invalid errcode") as caught:
        decode({"errcode": errcode})

    assert caught.value.status == 200
    assert repr(str(errcode)) in str(caught.value)


@pytest.mark.parametrize(
    ("errmsg", "rid", "text"),
    [
        (
            "invalid credential rid: 61249f85-43a93e56-534b607a",
            "61249f85-43a93e56-534b607a",
            "invalid credential",
        ),
        ("invalid appid hint: [ab12_cd]", "ab12_cd", "invalid appid"),
        (f"invalid appid hint: [{'9' * 23}]", "9" * 23, "invalid appid"),
        (f"invalid appid hint: [{' ' * 150}a1]", "a1", "invalid appid"),
        (f"invalid appid hint: [{' ' * 200}a1]", None, f"invalid appid hint: [{' ' * 200}a1]"),
        ("invalid appid hint: []", None, "invalid appid"),
        ("system error", None, "system error"),
        (None, None, ""),
    ],
)
def test_request_id_is_parsed_from_errmsg(errmsg, rid, text):
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
        "hint: [" + "x" * 136 + "]",
        "hybrid: 12",
    ],
)
def test_similar_text_is_not_a_request_id(errmsg):
    with pytest.raises(TokenError) as caught:
        decode({"errcode": 40014, "errmsg": errmsg})

    assert caught.value.rid is None


TEXTS = json.loads((Path(__file__).parent / "samples" / "error_texts.json").read_bytes())
"""Error texts reported by users of WeChat, and the client's errors for them."""


@pytest.mark.parametrize("seen", TEXTS, ids=lambda seen: f"{seen['errcode']} {seen['errmsg'][:40]}")
def test_reported_errors_keep_every_word(seen):
    body = json.dumps({"errcode": seen["errcode"], "errmsg": seen["errmsg"]}).encode()
    with pytest.raises(ApiError) as caught:
        raise_for_errcode(body, seen["endpoint"], secrets=[Secret(TOKEN)])

    error = caught.value
    assert type(error) is getattr(exceptions, seen["error"])
    assert (error.tcb_code, error.rid) == (seen["tcb_code"], seen["rid"])
    assert error.retryable == seen["retried"]
    words = re.sub(r"rid:|hints?: \[|req_id:", "", seen["errmsg"]).split()
    assert [word for word in words if word.strip(" ,]") not in str(error)] == []


def fail(seen, secrets=()):
    body = json.dumps({"errcode": seen["errcode"], "errmsg": seen["errmsg"]}).encode()
    with pytest.raises(ApiError) as caught:
        raise_for_errcode(body, seen["endpoint"], secrets=secrets)
    return caught.value


@given(
    st.sampled_from(TEXTS),
    st.text("aB4/+=_%é云😀", min_size=8, max_size=40),
    st.sampled_from([str, quote, quote_plus]),
    st.data(),
)
def test_secret_in_an_errmsg_changes_only_what_is_shown(seen, secret, encode, data):
    start = data.draw(st.integers(0, len(secret) - 8))
    repeated = encode(secret[start : start + data.draw(st.integers(8, 40))])
    seen = seen | {"errmsg": f"{repeated} {seen['errmsg']}"}

    expected = fail(seen)
    error = fail(seen, [Secret(TOKEN), Secret(secret)])

    facts = attrgetter("__class__", "errcode", "rid", "tcb_code", "endpoint")
    assert facts(error) == facts(expected)
    assert error.errmsg == HIDDEN_TEXT
    assert repeated not in f"{error!r}{vars(error)}"


@pytest.mark.parametrize(
    "errmsg",
    [
        "function calculateMonthlyStatistics-v2 not found",
        "env production-customer-portal-8f14e45f not found",
        "Cannot find module '/var/user/node_modules/lodash/fp/_mapping'",
        "more at https://developers.weixin.qq.com/miniprogram/dev/wxcloud/basis/getting-started",
        "Cannot read property 'token' of undefined; secret: not set, access_token=",
        "see http://10.0.0.1:8080/users/me@example.org, or ask admin@example.org",
    ],
)
def test_errmsg_is_shown_as_it_is(errmsg):
    with pytest.raises(ApiError) as caught:
        decode({"errcode": -501000, "errmsg": errmsg}, secrets=[Secret(TOKEN)])

    assert caught.value.errmsg == errmsg
    assert errmsg in str(caught.value)


@pytest.mark.parametrize(
    ("tcb_code", "error", "retried"),
    [
        ("RequestLimitExceeded", "RateLimitError", True),
        ("LimitExceeded.Request", "QuotaError", False),
        ("LimitExceeded.Offset", "ParameterError", False),
        ("InternalError.SYS_ERR", "SystemBusyError", True),
        ("InvalidParameterValue.Limit", "ParameterError", False),
        ("INVALID_ENV_STATUS", "PermissionDeniedError", False),
        ("FutureCode.OfWhichWeKnowNothing", "ApiError", False),
    ],
)
def test_tcb_code_takes_precedence(tcb_code, error, retried):
    with pytest.raises(ApiError, match=rf"it failed TcbCode: \[{re.escape(tcb_code)}\]") as caught:
        decode({"errcode": -501000, "errmsg": f"it failed TcbCode: [{tcb_code}] rid: 1-2-3"})

    assert type(caught.value) is getattr(exceptions, error)
    assert (caught.value.tcb_code, caught.value.retryable) == (tcb_code, retried)


def test_errcode_counts_if_the_tcb_code_is_unknown():
    with pytest.raises(SystemBusyError) as caught:
        decode({"errcode": -501001, "errmsg": "oops TcbCode: [FUTURE_CODE]"})

    assert caught.value.tcb_code == "FUTURE_CODE"


def test_secret_in_place_of_a_tcb_code_is_hidden():
    with pytest.raises(ApiError) as caught:
        decode(
            {"errcode": -501000, "errmsg": "no TcbCode: [InvalidToken.Secret]"},
            secrets=[Secret("InvalidToken.Secret")],
        )

    assert caught.value.tcb_code is None
    assert "InvalidToken" not in f"{caught.value!r}{vars(caught.value)}"


@pytest.mark.parametrize("length", [0, 100_000])
def test_code_at_the_end_of_a_long_errmsg_decides(length):
    errmsg = f"Error: {'at /var/user/index.js ' * length} TcbCode: [EXCEED_RATELIMIT] rid: 1-2-3"
    with pytest.raises(RateLimitError) as caught:
        decode({"errcode": -501000, "errmsg": errmsg})

    assert (caught.value.tcb_code, caught.value.rid) == ("EXCEED_RATELIMIT", "1-2-3")
    assert len(caught.value.errmsg) <= 500


def test_the_first_4096_characters_of_an_errmsg_are_understood():
    code = "TcbCode: [EXCEED_RATELIMIT]"
    errmsg = f"{code:.>4096} {'at /var/user/index.js ' * 100}"
    with pytest.raises(RateLimitError) as caught:
        decode({"errcode": -501000, "errmsg": errmsg})
    with pytest.raises(TcbError) as caught_too_late:
        decode({"errcode": -501000, "errmsg": f"!{errmsg}"})

    assert caught.value.tcb_code == "EXCEED_RATELIMIT"
    assert caught_too_late.value.tcb_code is None


@pytest.mark.parametrize(
    "errmsg",
    [
        "函数执行失败".encode()[:-1],  # cut at a number of bytes
        "函数执行失败".encode("gbk"),
        "誠".encode("gbk"),
        rb"failed \ud83d",
        b"line 1\nline 2\tend",
    ],
    ids=["cut", "GBK", "a backslash in GBK", "half an emoji", "control characters"],
)
def test_errcode_is_understood_although_the_errmsg_is_broken(errmsg):
    body = b'{"errcode":45011,"errmsg":"%s rid: 1-2-3"}' % errmsg
    with pytest.raises(RateLimitError) as caught:
        decode(body)

    assert caught.value.rid == "1-2-3"
    assert str(caught.value).encode()


def test_broken_errmsg_is_repaired_up_to_a_size():
    with pytest.raises(ResponseError):
        decode(b'{"errcode":45011,"errmsg":"\x80%s"}' % (b" " * 2**16))


@pytest.mark.parametrize("end", ["rid: abcdef-0123", "hint: [secret-in-hint]"])
def test_request_id_with_a_secret_is_dropped(end):
    secret = end.split()[1].strip("[]")
    with pytest.raises(TokenError) as caught:
        decode({"errcode": 40014, "errmsg": f"invalid token {end}"}, secrets=[Secret(secret)])

    assert (caught.value.rid, caught.value.errmsg) == (None, "invalid token")
    assert secret not in f"{caught.value!r}{vars(caught.value)}"


def test_text_after_the_cut_counts():
    """A text is cut to 500 characters after its secrets are hidden."""
    seen = {"errcode": -1, "errmsg": f"{'so it goes ' * 46} {TOKEN[-8:]}", "endpoint": "/x"}

    assert fail(seen, [Secret(TOKEN)]).errmsg == HIDDEN_TEXT
    assert len(fail(seen).errmsg) == 500


def cpu_seconds(function, *arguments):
    """The CPU time of this thread that a call takes."""
    started = time.thread_time()
    function(*arguments)
    return time.thread_time() - started


def is_quadratic(function, text_of, length):
    """Whether a text that is four times as long takes much more than four times as long.

    It takes 4 times as long in linear time, and 16 times in quadratic time, whatever the speed of
    the machine. A measurement may be disturbed, which makes it longer; so the shortest of five
    counts.
    """
    pairs = [
        (cpu_seconds(function, text_of(length)), cpu_seconds(function, text_of(4 * length)))
        for _ in range(5)
    ]
    shortest, shortest_of_long = map(min, zip(*pairs, strict=True))
    return shortest_of_long > 8 * shortest


def test_hostile_errmsg_takes_linear_time():
    def refuse(text):
        with pytest.raises(TokenError):
            decode({"errcode": 40014, "errmsg": f"x{text}x"}, secrets=[Secret(TOKEN)])

    assert not is_quadratic(refuse, lambda length: " " * length, 2**13)


def test_error_reply_with_invalid_rows_is_an_api_error():
    with pytest.raises(SystemBusyError):
        decode({"errcode": -1, "errmsg": "busy", "functions": "none", "total_count": "many"})


@pytest.mark.parametrize("body", [b"[]", b"", b'"T"', b"{", b'{"errcode":-1,"errmsg":3}'])
def test_reply_must_be_an_object_with_a_readable_errcode(body):
    with pytest.raises(ResponseError, match=r"^/tcb/x should return a JSON object"):
        decode_reply(body, "/tcb/x", secrets=())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
HOSTILE = st.sampled_from(
    [
        *(True, -1, -1000, 40014, 2**31, 2**63, -(2**63), 10**400, 1e308, float("nan")),
        *("", "-1", "1e3", "9" * 5000, "\ud800", "\0", "2019-02-30 25:61:61", "2019-W09-3"),
        *("0001-01-01 00:00:00-23:59", "9999-12-31 24:00:00", "2019-02-27T15:34:59+99:99"),
        *(TOKEN, f"access_token={TOKEN}", "rid: 1-2-3", "hint: [", [], {}, [{}], [None]),
    ]
)
KNOWN_KEYS = st.sampled_from(
    ["errcode", "errmsg", "total_count", "functions", "access_token", "expires_in", TOKEN]
)
ROW_KEYS = st.sampled_from(["name", "status", "runtime", "add_time", "mod_time", "_time"])
SAMPLES = [
    json.loads((Path(__file__).parent / "samples/listfunctions_reply.json").read_bytes()),
    {"errcode": 40001, "errmsg": f"invalid credential {TOKEN} hint: [Bt0s.5a1234567e]"},
    {"access_token": TOKEN, "expires_in": 7200},
]
"""Documented replies."""


@st.composite
def spoilt_replies(draw):
    """A documented reply in which values and then bytes are replaced."""
    values = HOSTILE | json_values
    reply = {**draw(st.sampled_from(SAMPLES)), **draw(st.dictionaries(KNOWN_KEYS, values))}
    if draw(st.booleans()):
        row = {**SAMPLES[0]["functions"][0], **draw(st.dictionaries(ROW_KEYS, values))}
        reply["functions"] = [row] * draw(st.integers(1, 3))
    body = json.dumps(reply, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    if draw(st.booleans()):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, len(body)))
        body = body[:start] + draw(st.binary(max_size=8)) + body[end:]
    return body


def decode_token(body):
    reply = decode_reply(body, STABLE, secrets=[Secret(TOKEN)])
    reply = read_token_reply(reply, STABLE)
    if isinstance(reply, TcbError):
        raise reply
    return reply


def decode_page(body):
    return decode(body, secrets=[Secret(TOKEN)])


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [decode_page, decode_token])
@given(body=st.binary() | spoilt_replies())
@example(body=b'{"errcode":0,"errmsg":"\x80","total_count":0}')  # a field that is not read
def test_any_bytes_become_a_value_or_our_error(decoder, body):
    try:
        value = decoder(body)
    except (ApiError, ResponseError) as error:
        value = [str(error), repr(error), vars(error)]
    if isinstance(value, Page):
        assert_page_equals_json(value, json.loads(body.decode(errors="replace")))
    else:
        assert TOKEN not in repr(value)


def assert_page_equals_json(page, reply):
    rows = reply.get("functions") or []
    assert page.total == reply["total_count"] >= 0
    assert [(function.name, function.status) for function in page.items] == [
        (row["name"], row["status"]) for row in rows
    ]
    times = [time for function in page.items for time in (function.add_time, function.mod_time)]
    assert all(time is None or time.tzinfo is not None for time in times)


def test_each_beginning_of_a_reply_is_retryable():
    reply = rb'{"list": [{"a": "x\"}"}, [1.5, true]], "n": null}'
    for length in range(len(reply)):
        with pytest.raises(ResponseError) as caught:
            decode_reply(reply[:length], LIST, secrets=())
        assert caught.value.retryable

    assert decode_reply(reply, LIST, secrets=())["n"] is None
    with pytest.raises(ResponseError) as caught:
        decode_reply(reply + b"}", LIST, secrets=())
    assert not caught.value.retryable
