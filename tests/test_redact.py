"""Secrets never appear in printed text."""

import copy
import itertools
import json
import pickle
import re
import string
import time
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secret_leaks import encodings, leaks_of

from tcb_async._redact import MASK, Secret, forget_frames, hide, redact

SECRET = "tick@@@pl4nted-s3cret0"


def test_secret_shows_its_text_only_on_request():
    secret = Secret("s3cr3t-t0ken")

    assert secret.reveal() == "s3cr3t-t0ken"
    assert {repr(secret), str(secret), f"{secret:>20}"} == {"Secret([hidden])"}
    assert "s3cr3t" not in repr({"token": [secret]})


def test_secret_has_no_parts_to_show():
    secret: Any = Secret("s3cr3t-t0ken")

    assert not isinstance(secret, str | Sequence | Iterable | Sized)
    with pytest.raises(TypeError, match="vars"):
        vars(secret)
    with pytest.raises(TypeError, match="not subscriptable"):
        secret[:4]
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(secret)


@pytest.mark.parametrize("write", [pickle.dumps, lambda secret: secret.__getstate__()])
def test_secret_is_not_pickled(write):
    with pytest.raises(TypeError, match=r"a Secret is not pickled: pickle what reveal\(\) returns"):
        write(Secret("s3cr3t-t0ken"))


def test_copy_of_a_secret_is_the_secret():
    secret = Secret("s3cr3t-t0ken")

    assert copy.copy(secret) is copy.deepcopy([secret])[0] is secret
    assert Secret(secret) == secret


@given(st.text(), st.text())
def test_secrets_are_equal_if_their_texts_are(one, other):
    assert Secret(one) == one
    assert one == Secret(one)
    assert hash(Secret(one)) == hash(one)
    assert (Secret(one) == Secret(other)) == (one == other) == (Secret(one) == other)
    assert Secret(one) != one.encode()


@pytest.mark.parametrize("text", ["you sent abc123, which is wrong", "abc123", "<b>abc123</b>"])
def test_given_secret_is_hidden(text):
    assert redact(text, [Secret("abc123")]) == text.replace("abc123", MASK)


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "secret", "ticket"])
@pytest.mark.parametrize(
    "text", ["bad {}=abc123 given", '<a href="?{}=abc123&x=1">', '{{"{}": "abc123"}}', "{}: abc123"]
)
def test_values_of_secret_names_are_hidden(name, text):
    named = text.format(name)

    assert redact(named) == named.replace("abc123", MASK)
    assert redact(named.upper()) == named.upper().replace("ABC123", MASK)


def test_text_like_a_token_is_hidden():
    assert redact("not deadbeefdeadbeefdeadbeef-abc123 again") == f"not {MASK} again"


def test_user_and_password_of_a_url_are_hidden():
    text = "postgres://wx:hun@ter2@db/tokens is down, ask admin@example.org"

    assert redact(text) == text.replace("wx:hun@ter2", MASK)


def test_ordinary_text_is_left_alone():
    text = "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist"

    assert redact(text, [Secret(""), Secret("other")]) == text


@pytest.mark.parametrize(
    "word",
    [
        "InvalidParameterValue.Limit",
        "InvalidParameter.HTTPServiceDomainNotICP",
        "LimitExceeded.FunctionTotalProvisionedConcurrencyMemory",
        "EXCEED_CONCURRENT_REQUEST_LIMIT",
        "q=EXCEED_CONCURRENT_REQUEST_LIMIT",
        "getPermanentAuthorizerAccessToken",
        "authorizer_refresh_token",
        "61249f85-43a93e56-534b607a",
        "848ed45d-6e76-4497-8a18-92fdad27984e",
        "https://mmbizurl.cn/s/JtxxFh33r",
        "https://tcb.cloud.tencent.com/cloud-admin",
        "请使用稳定版接口获取最新的接口调用凭证并在本地缓存后重新发起调用",
    ],
)
def test_codes_are_shown_unless_the_client_sent_them(word):
    assert redact(f"it says {word}. See: {word}") == f"it says {word}. See: {word}"
    assert word not in redact(f"it says {word}.", [Secret(word)])


BASE64 = f"{string.ascii_letters}{string.digits}_-"
CREDENTIALS = (
    st.text(BASE64, min_size=107, max_size=512),  # an access token
    st.text("0123456789abcdef", min_size=32, max_size=32),  # an appsecret
    st.text(BASE64, min_size=80, max_size=90).map("ticket@@@{}".format),
    st.text(BASE64, min_size=43, max_size=43).map("refreshtoken@@@{}".format),
)
PLACES = (
    "{}",
    "[{}]",
    "({}).",
    "'{}',",
    "access_token={}",
    "sign={}",
    "令牌{}。",
    "A.{}",
    "//x.y/{}",
)
SEEN = json.loads((Path(__file__).parent / "samples" / "error_texts.json").read_bytes())
TEXTS = [seen["errmsg"].partition(" hint")[0] for seen in SEEN]  # a hint is not redacted


@given(
    st.sampled_from(TEXTS),
    st.integers(0, 99),
    st.one_of(CREDENTIALS),
    st.sampled_from(PLACES),
    st.integers(1, 500),
)
def test_unknown_credentials_are_hidden_in_any_text(text, at, credential, place, length):
    words = text.split()
    said = " ".join([*words[:at], place.format(credential), *words[at:]])
    unknown = credential.rpartition("@")[2]

    shown = redact(said)

    assert leaks_of([unknown], [shown, redact(said, length=length)]) == []
    assert [word for word in words if word not in shown] == []


@pytest.mark.parametrize(
    "credential",
    [
        "AccessToken" * 12,
        "ACCESS_TOKEN_" * 10 + "X",
        "a_" * 60 + "a",
        "deadbeef" * 4,
        "ticket@@@" + "VerifyTicket" * 7,
        "refreshtoken@@@" + "RefreshToken" * 3 + "Refresh",
    ],
)
def test_credentials_like_words_are_hidden(credential):
    shown = redact(f"it says {credential}, and [{credential}]")

    assert leaks_of([credential.rpartition("@")[2]], [shown]) == []


APPSECRET = "8f14e45fceea167a5a36dedd4bea2543"


@pytest.mark.parametrize("size", range(8, 24))
@pytest.mark.parametrize("between", [" ", "\n", "<wbr>", "\\u0020", "&#32;", "-" * 24])
def test_given_secret_is_hidden_in_pieces(size, between):
    pieces = [APPSECRET[at : at + size] for at in range(0, len(APPSECRET), size)]

    shown = redact(f"no {between.join(pieces)}", [Secret(APPSECRET)])

    assert [piece for piece in pieces if len(piece) >= 8 and piece in shown] == []


def test_given_secret_is_hidden_if_it_is_cut_off():
    for start, end in itertools.combinations(range(len(APPSECRET) + 1), 2):
        shown = redact(f"no {APPSECRET[start:end]}", [Secret(APPSECRET)])

        assert (APPSECRET[start:end] in shown) == (end - start < 8)


@pytest.mark.parametrize("encoding", encodings(""))
def test_given_secret_is_hidden_in_every_encoding(encoding):
    text = f"you said {encodings(SECRET)[encoding]}, it seems"

    shown = redact(text, [Secret(SECRET)])

    assert MASK in shown
    assert leaks_of([SECRET], [shown]) == []


def test_secrets_are_hidden_in_different_encodings():
    other = "an0ther-s3cret-of-32-characters."
    text = f"{encodings(SECRET)['URL-encoded']} {encodings(other)['base64']} {SECRET} {other} & \\"

    assert leaks_of([SECRET, other], [redact(text, [Secret(SECRET), Secret(other)])]) == []


fillers = st.sampled_from(["", " ", "x", "- ", "x" * 23 + " ", "x" * 40, "x" * 200 + " ", SECRET])


@given(st.lists(st.tuples(fillers, st.integers(0, 40)), max_size=4), st.integers(1, 150))
def test_cut_leaves_no_part_of_a_secret(before, length):
    text = "".join(filler * times for filler, times in before) + f" {SECRET}" * 80

    shown = redact(text, [Secret(SECRET)], length=length)

    assert len(shown) <= length
    assert leaks_of([SECRET], [shown]) == []


def test_end_of_the_examined_text_shows_no_secret():
    """An unknown credential is hidden too: a part of it would not be recognised as a token."""
    for run in range(24, 500):
        shown = redact("x" * run + f" {SECRET} {APPSECRET}" * 40, [Secret(SECRET)], length=40)

        assert leaks_of([SECRET, APPSECRET], [shown]) == []


def test_short_secret_hides_no_ordinary_words():
    assert hide("Nothing happened", [Secret("7")]) == "Nothing happened"


def test_text_before_the_cut_is_shown():
    text = "it has nothing to hide, " * 1000

    assert redact(text, [Secret(SECRET)], length=40) == text[:40]
    assert redact("9" * 5000, [Secret(SECRET)], length=40) == MASK


@pytest.mark.parametrize("text", [" " * 2**22, "secret " * 2**19, "%5" * 2**21, "\\" * 2**22])
def test_megabytes_are_redacted_fast(text):
    started = time.thread_time()
    redact(text, [Secret(SECRET)], length=500)

    assert time.thread_time() - started < 0.5


def below(secret):
    """Fail as a library does that was given a secret."""
    try:
        {}[secret]
    except KeyError:
        raise ValueError(secret) from None


def above():
    with forget_frames():
        below(SECRET)


def caller():
    above()


def test_error_drops_frames_and_causes_of_a_block():
    with pytest.raises(ValueError, match=re.escape(SECRET)) as caught:
        caller()

    error = caught.value
    assert [frame.name for frame in caught.traceback][1:] == ["caller"]
    assert (error.__cause__, error.__context__, error.__suppress_context__) == (None, None, False)


def test_error_keeps_the_callers_own_context():
    handled = LookupError("the caller's own")
    try:
        raise handled
    except LookupError as own:
        with pytest.raises(ValueError, match=re.escape(SECRET)) as caught:
            above()
        with pytest.raises(LookupError) as again, forget_frames():
            raise own from None

    assert caught.value.__context__ is handled
    assert again.value is handled
    assert again.value.__context__ is None


def test_secrets_are_compared_in_constant_time(monkeypatch):
    monkeypatch.setattr("hmac.compare_digest", lambda *_: True)

    assert Secret("one") == Secret("other")
