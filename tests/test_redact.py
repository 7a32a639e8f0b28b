"""Secrets never appear in printed text."""

import copy
import enum
import itertools
import json
import pickle
import random
import re
from collections.abc import Iterable, Sequence, Sized
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import pytest
from counted_work import count_steps, is_quadratic
from hypothesis import given
from hypothesis import strategies as st
from secret_leaks import encodings, leaks_of
from yarl import URL

from tcb_async._redact import (
    HIDDEN_TEXT,
    MASK,
    MAX_EXAMINED,
    MAX_SECRETS,
    Secret,
    find_secrets,
    forget_frames,
    hide_all_like_a_token,
    hide_known,
    hide_named,
)

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


both = pytest.mark.parametrize("hide", [hide_known, hide_all_like_a_token])


@both
@pytest.mark.parametrize("text", ["sent xyabc12345, no?", "abc12345z", "<b>abc12345</b>"])
def test_text_that_repeats_a_secret_is_hidden(hide, text):
    assert hide(text, [Secret("--abc12345--")]) == HIDDEN_TEXT
    assert hide(text, [Secret("--abc1234--")]) == text


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "secret", "ticket"])
@pytest.mark.parametrize(
    "text", ["bad {}=abc123 given", '<a href="?{}=abc123&x=1">', '{{"{}": "abc123"}}', "{}: abc123"]
)
def test_values_of_secret_names_are_hidden(name, text):
    named = text.format(name)

    assert hide_named(named, []) == named.replace("abc123", MASK)
    assert hide_named(named.upper(), []) == named.upper().replace("ABC123", MASK)


def test_text_like_a_token_is_hidden():
    text = "not deadbeefdeadbeefdeadbeef-abc123 again"
    assert hide_all_like_a_token(text) == f"not {MASK} again"


@both
@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("postgres://wx:hun@ter2@db/tokens is down, ask admin@example.org", "wx:hun@ter2"),
        ("connect failed mysql://root:hunter2@10.0.0.1/db", "root:hunter2"),
        ("Invalid URL: mysql://root:hun/ter#2?@10.0.0.1:3306/db", "root:hun/ter#2?"),
        ("redis://:hunter2@h, mongodb://:hunter2@h", ":hunter2"),
        ("https://token@example.org", "token"),
        ('{"url":"mysql://root:hun\\"ter2%22@h"}', 'root:hun\\"ter2%22'),
    ],
)
def test_user_and_password_of_a_url_are_hidden(hide, text, user):
    assert hide(text, []) == text.replace(user, MASK)


@both
@pytest.mark.parametrize(
    "text",
    [
        r'{"url":"mysql:\/\/root:hunter2@10.0.0.1\/db"}',
        "url=mysql%3A%2F%2Froot%3Ahunter2%40h%2Fdb, mysql://root@h",
        "url=mysql%253A%252F%252Froot%253Ahunter2%2540h%252Fdb",
    ],
)
def test_text_with_the_user_of_an_encoded_url_is_hidden(hide, text):
    assert hide(text, []) == HIDDEN_TEXT


@both
@pytest.mark.parametrize(
    "text",
    [
        "see http://10.0.0.1:80/users/me@example.org",
        "https://example.org/?mail=me@example.org // me@example.org",
        "请访问 https://example.org。请联系 me@example.org",
        "请访问https://example.org。请联系me@example.org",
        "/var//user and user@host:/var//user",
        '{"url":"https://example.org","mail":"me@example.org"}',
        '<a href="https://example.org">me@example.org</a>',
    ],
)
def test_rest_of_a_url_is_shown(hide, text):
    assert hide(text, []) == text


@both
def test_ordinary_text_is_left_alone(hide):
    text = r"invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4 \ not in 'whitelist' \u4e91 100% sure \n\\"

    assert hide(text, [Secret(""), Secret("other")]) == text


APPSECRET = "8f14e45fceea167a5a36dedd4bea2543"


@both
@pytest.mark.parametrize("size", range(8, 24))
@pytest.mark.parametrize("between", [" ", "\n", "<wbr>", "\\u0020", "&#32;", "-" * 24])
def test_given_secret_is_hidden_in_pieces(hide, size, between):
    pieces = [APPSECRET[at : at + size] for at in range(0, len(APPSECRET), size)]

    shown = hide(f"no {between.join(pieces)}", [Secret(APPSECRET)])

    assert [piece for piece in pieces if len(piece) >= 8 and piece in shown] == []


@both
def test_given_secret_is_hidden_if_it_is_cut_off(hide):
    for start, end in itertools.combinations(range(len(APPSECRET) + 1), 2):
        shown = hide(f"no {APPSECRET[start:end]}", [Secret(APPSECRET)])

        assert (APPSECRET[start:end] in shown) == (end - start < 8)


@both
@pytest.mark.parametrize("encoding", encodings(""))
def test_given_secret_is_hidden_in_every_encoding(hide, encoding):
    text = f"you said {encodings(SECRET)[encoding]}, it seems"

    shown = hide(text, [Secret(SECRET)])

    if hide is hide_known and "base64" in encoding:
        assert shown == text
    else:
        assert shown in {HIDDEN_TEXT, f"you said {MASK}, it seems"}
        assert leaks_of([SECRET], [shown]) == []


def percent(character):
    return "".join(f"%{byte:02x}" for byte in character.encode())


def backslash(character):
    return "\\" + character.replace("\b", "b")


def to_unicode_escape(character):
    return f"\\u{ord(character):04x}"


ESCAPES = (str, percent, lambda character: percent(character).upper(), to_unicode_escape, backslash)


@given(
    st.text('aB4@+/=_"\b', min_size=8, max_size=20), st.lists(st.sampled_from(ESCAPES), min_size=1)
)
def test_escaped_characters_of_a_secret_are_hidden(secret, escapes):
    each = zip(itertools.cycle(escapes), secret, strict=False)
    said = "".join(escape(character) for escape, character in each)

    assert hide_known(f"no {said}!", [Secret(secret)]) == HIDDEN_TEXT


def to_json(text):
    return json.dumps(text)[1:-1]


def to_php_json(text):
    return to_json(text).replace("/", r"\/")


def to_query(text):
    return str(URL("/").with_query({"": text}))[3:]


encoders = st.sampled_from([to_json, to_php_json, quote, quote_plus, to_query])


@given(
    st.text("ab04%u\\n/+\"'\b云é😀", min_size=8, max_size=12),
    st.lists(encoders, max_size=2),
    st.data(),
)
def test_pieces_are_found_in_a_text_that_was_encoded_twice(secret, encode_it, data):
    start = data.draw(st.integers(0, len(secret) - 8))
    said = secret[start : start + 8]
    for encode in encode_it:
        said = encode(said)

    shown = hide_known(f"no {said} !", [Secret(secret), Secret("other secret")])

    assert shown == HIDDEN_TEXT


@pytest.mark.parametrize("secret", ["gQH%2B47%2F7jAS%2FEF%3D", r"{\"ticketId\":\"云云云\"}"])
def test_decoded_secret_is_hidden(secret):
    """A caller may encode a secret, as WeChat requires for the ticket of a QR code."""
    decoded = unquote(secret).replace("\\", "")

    assert hide_known(f"no {decoded}!", [Secret(secret)]) == HIDDEN_TEXT
    assert hide_known(f"no {decoded[:7]}!", [Secret(secret)]) == f"no {decoded[:7]}!"


fillers = st.sampled_from(["", " ", "x", "- ", "x" * 23 + " ", "x" * 40, "x" * 200 + " ", SECRET])


@pytest.mark.slow
@given(st.lists(st.tuples(fillers, st.integers(0, 40)), max_size=4), st.integers(1, 150))
def test_cut_leaves_no_part_of_a_secret(before, length):
    text = "".join(filler * times for filler, times in before) + f" {SECRET}" * 300

    shown = hide_all_like_a_token(text, [Secret(SECRET)], length=length)

    assert len(shown) <= length or shown == HIDDEN_TEXT
    assert leaks_of([SECRET], [shown]) == []


@pytest.mark.slow
def test_end_of_the_examined_text_shows_no_secret():
    """An unknown credential is hidden too: a part of it would not be recognised as a token."""
    for run in range(MAX_EXAMINED - 120, MAX_EXAMINED + 1):
        text = "x" * run + f" {SECRET} {APPSECRET}" * 2

        shown = hide_all_like_a_token(text, [Secret(SECRET)], length=200)

        assert leaks_of([SECRET, APPSECRET[:20]], [shown]) == []


@pytest.mark.parametrize("secret", ["50%41%42%", r"a\nb\u0041\"c", r"%5C\\d%5C"])
def test_secret_that_looks_escaped_is_hidden(secret):
    for said in (secret, quote(secret), to_json(secret)):
        assert hide_known(f"no {said} !", [Secret(secret)]) == HIDDEN_TEXT


def test_secrets_are_not_joined():
    assert hide_known("abcdefgh", [Secret("----abcd"), Secret("efgh----")]) == "abcdefgh"


def test_plus_and_space_are_the_same():
    assert hide_known("no ab cd/ef gh", [Secret("xab+cd/ef+ghx")]) == HIDDEN_TEXT
    assert hide_known("no ab+cd/ef%20gh", [Secret("xab+cd/ef+ghx")]) == HIDDEN_TEXT


@pytest.mark.parametrize(
    ("token", "text", "shown"),
    [
        ("t", "t is no token", f"{MASK} is no token"),
        ("token", "令牌token, access_token, tokens", f"令牌{MASK}, access_token, tokens"),
        ("a-b", "a-b, a-bc, xa-b", f"{MASK}, a-bc, xa-b"),
        ("\\d", "7", "7"),
    ],
)
def test_placeholder_token_is_hidden_word_by_word(token, text, shown):
    assert hide_known(text, [Secret(token)]) == shown


KEY = f"-----BEGIN-----\n{SECRET}\n{SECRET[::-1]}\n-----END-----\n"
PROSE = "Tickets of the spring festival: authorisation of two persons, invalid after one day."


def test_only_long_parts_of_prose_are_secret():
    assert hide_known(f"no {SECRET[2:10]}", [Secret(KEY)]) == HIDDEN_TEXT
    assert hide_known(f"no {PROSE[:60]}", [Secret(PROSE)]) == f"no {PROSE[:60]}"
    assert hide_known("no a23456789012345", [Secret("a23456789012345 b")]) != HIDDEN_TEXT
    assert hide_known("no a234567890123456", [Secret("a234567890123456 b")]) == HIDDEN_TEXT
    assert hide_known("no 12345678", [Secret("12345678\n")]) == HIDDEN_TEXT


@both
def test_whole_examined_text_counts(hide):
    assert hide(f"{'so it goes ' * 92} abcdefgh", [Secret("abcdefgh")]) == HIDDEN_TEXT


def test_text_before_the_cut_is_shown():
    text = "it has nothing to hide, " * 1000

    assert hide_all_like_a_token(text, [Secret(SECRET)], length=40) == text[:40]
    assert hide_all_like_a_token("9" * 5000, [Secret(SECRET)], length=40) == MASK


@pytest.mark.parametrize("piece", [" ", "secret ", "%5", "\\"])
def test_hiding_takes_linear_time(piece):
    def hide(text):
        hide_all_like_a_token(text, [Secret(SECRET)], length=500)

    assert not is_quadratic(hide, lambda length: piece * (length // len(piece)), 2**13)


words = st.text("ab", max_size=14)


@given(st.lists(words, max_size=6), st.lists(st.integers(0, 5) | words, max_size=8))
def test_exactly_the_texts_with_a_piece_are_hidden(secrets, parts):
    text = "".join(
        (secrets[part % len(secrets)] if secrets else "") if isinstance(part, int) else part
        for part in parts
    )
    pieces = {each[at : at + 8] for each in secrets for at in range(len(each) - 7)}

    shown = hide_known(text, [Secret(each) for each in secrets if len(each) >= 8])

    assert shown == (HIDDEN_TEXT if any(piece in text for piece in pieces) else text)


def test_no_text_is_shown_if_too_many_secrets_were_sent():
    secrets = [Secret("x" * (MAX_SECRETS - 8)), Secret("abcdefgh")]

    assert hide_known("busy", secrets) == "busy"
    assert hide_known("busy", [*secrets, Secret("a")]) == HIDDEN_TEXT
    assert hide_known("", [*secrets, Secret("a")]) == ""


DIGITS = "".join(random.Random(65).choices("0123456789abcdef", k=MAX_SECRETS))
SECRET_KINDS = {
    "none": "",
    "plain": DIGITS,
    "escaped": r"\u4e00" * (MAX_SECRETS // 6),
    "twice": r"%5cu4e00" * (MAX_SECRETS // 8),
}
"""As many secrets as are looked for."""


@pytest.mark.parametrize("said", [DIGITS[::-1], r"\u4e01%25" * 500, "//a:" * 500 + "@"])
@pytest.mark.parametrize("kind", SECRET_KINDS)
def test_work_of_hiding_is_bounded(kind, said):
    assert count_steps(hide_known, said[:MAX_EXAMINED], [Secret(SECRET_KINDS[kind])]) < 500_000


RANDOM = random.Random(76)


def many(make):
    """Values of 1 MiB in all, as a caller may send them."""
    return [make(number) for number in range(10_000)]


def make_digits(number):
    return f"{number:0104}"


def make_prose(_number):
    return " ".join(RANDOM.choices(PROSE.split(), k=15))


BODIES = {
    "tokens": {"tokens": many(make_digits)},
    "named tokens": {"more": [{"token": each} for each in many(make_digits)]},
    "Secrets": many(lambda number: Secret(make_digits(number))),
    "numbers": {"ticket": many(lambda number: 10**103 + number)},
    "keys": {"secrets": dict.fromkeys(many(make_digits), 1)},
    "prose": {"ticket": many(make_prose)},
    "escapes": {"ticket": many(lambda number: rf"\u{number:04}%5c" * 11)},
    "short words": {"tokens": many(str)},
    "no secrets": {"names": many(make_prose)},
    "names": dict.fromkeys(many(make_digits), 1),
}
"""Bodies of 10,000 values."""


@pytest.mark.parametrize("body", BODIES)
def test_work_for_a_large_body_is_bounded(body):
    """A million instructions take less than 10 ms where they are not counted."""
    said = rf"{make_digits(1)} \u4e01%25 " * 9

    def refuse():
        hide_known(said[:MAX_EXAMINED], [*find_secrets(BODIES[body])])

    assert count_steps(refuse) < 1_000_000


NESTED = {
    "app_Secret": "secret-a", "more": [{"TOKEN": {"x": "secret-b", "n": 1}}, "no secret"],
    "ticket": ["secret-c"], 1: "no secret", "name": Secret("d"),
}  # fmt: skip


class Number(int, enum.Enum):
    FIRST = 12345678


def test_secrets_are_found_at_any_depth():
    found = {secret.reveal() for secret in find_secrets(NESTED)}
    assert found == {"secret-a", "secret-b", "secret-c", "d"}

    deep: object = {"token": "secret-e"}
    for _ in range(10_000):
        deep = [deep]
    assert [*find_secrets(deep)] == ["secret-e"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (["1234567", "12345678"], ["12345678"]),
        ([1234567, 12345678, True, 1.5], ["12345678"]),
        (Number.FIRST, ["12345678"]),
        (1234567.5, ["1234567.5"]),
        ({"sectionName": 1, "sixteen-letters-": {"fifteen-letters": 1}}, ["sixteen-letters-"]),
        ({1: ["a"], "b": {2: "12345678"}}, ["12345678"]),
    ],
)
def test_values_below_a_secret_name_are_secrets(value, found):
    assert [*find_secrets({"ticket": value, "other": value})] == found


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
