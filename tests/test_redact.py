"""Secrets never appear in printed text."""

import copy
import itertools
import json
import pickle
import random
import re
from collections.abc import Iterable, Sequence, Sized
from typing import Any
from urllib.parse import quote

import pytest
from counted_work import count_steps, is_quadratic
from hypothesis import given
from hypothesis import strategies as st
from secret_leaks import encodings, leaks_of

from tcb_async._redact import (
    MASK,
    MAX_EXAMINED,
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
@pytest.mark.parametrize("text", ["you sent abc123, which is wrong", "abc123", "<b>abc123</b>"])
def test_given_secret_is_hidden(hide, text):
    assert hide(text, [Secret("abc123")]) == text.replace("abc123", MASK)


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
        (r'{"url":"mysql:\/\/root:hunter2@10.0.0.1\/db"}', "root:hunter2"),
        ("url=mysql%3A%2F%2Froot%3Ahunter2%40h%2Fdb", "root%3Ahunter2"),
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
        assert shown == f"you said {MASK}, it seems"
        assert leaks_of([SECRET], [shown]) == []


def percent(character):
    return "".join(f"%{byte:02x}" for byte in character.encode())


ESCAPES = (str, percent, lambda c: percent(c).upper(), lambda c: f"\\u{ord(c):04x}", r"\{}".format)


@given(
    st.text('aB4@+/=_"', min_size=1, max_size=20), st.lists(st.sampled_from(ESCAPES), min_size=1)
)
def test_escaped_characters_of_a_secret_are_hidden(secret, escapes):
    each = zip(itertools.cycle(escapes), secret, strict=False)
    said = "".join(escape(character) for escape, character in each)

    assert hide_known(f"no {said}!", [Secret(secret)]) == f"no {MASK}!"


fillers = st.sampled_from(["", " ", "x", "- ", "x" * 23 + " ", "x" * 40, "x" * 200 + " ", SECRET])


@pytest.mark.slow
@given(st.lists(st.tuples(fillers, st.integers(0, 40)), max_size=4), st.integers(1, 150))
def test_cut_leaves_no_part_of_a_secret(before, length):
    text = "".join(filler * times for filler, times in before) + f" {SECRET}" * 300

    shown = hide_all_like_a_token(text, [Secret(SECRET)], length=length)

    assert len(shown) <= length
    assert leaks_of([SECRET], [shown]) == []


@pytest.mark.slow
def test_end_of_the_examined_text_shows_no_secret():
    """An unknown credential is hidden too: a part of it would not be recognised as a token."""
    for run in range(MAX_EXAMINED - 120, MAX_EXAMINED + 1):
        text = "x" * run + f" {SECRET} {APPSECRET}" * 2

        shown = hide_all_like_a_token(text, [Secret(SECRET)], length=200)

        assert leaks_of([SECRET, APPSECRET[:20]], [shown]) == []


@pytest.mark.parametrize("secret", ["50%41%42%", r"a\nb\u0041\"c", r"%5C\\d"])
def test_secret_that_looks_escaped_is_hidden(secret):
    assert hide_known(f"no {secret} !", [Secret(secret)]) == f"no {MASK} !"
    assert hide_known(f"no {quote(secret)}!", [Secret(secret)]) == f"no {MASK}!"


def test_secret_that_begins_with_a_shorter_one_is_hidden():
    secrets = [Secret("abc"), Secret("abcdefgh")]

    assert hide_known("no abcdefgh, no abcdef", secrets) == f"no {MASK}, no {MASK}def"


def test_short_secret_hides_no_ordinary_words():
    assert hide_known("Nothing happened", [Secret("7")]) == "Nothing happened"


def test_text_before_the_cut_is_shown():
    text = "it has nothing to hide, " * 1000

    assert hide_all_like_a_token(text, [Secret(SECRET)], length=40) == text[:40]
    assert hide_all_like_a_token("9" * 5000, [Secret(SECRET)], length=40) == MASK


@pytest.mark.parametrize("piece", [" ", "secret ", "%5", "\\"])
def test_hiding_takes_linear_time(piece):
    def hide(text):
        hide_all_like_a_token(text, [Secret(SECRET)], length=500)

    assert not is_quadratic(hide, lambda length: piece * (length // len(piece)), 2**13)


def hide_slowly(text, secrets):
    """Hide every piece of every secret, whatever it costs."""
    pieces = {each[at : at + 8] for each in secrets for at in range(max(1, len(each) - 7))}
    hidden = [False] * len(text)
    for piece in pieces - {""}:
        for at in range(len(text) - len(piece) + 1):
            if text.startswith(piece, at):
                hidden[at : at + len(piece)] = [True] * len(piece)
    return [character for character, is_hidden in zip(text, hidden, strict=True) if not is_hidden]


words = st.text("ab", max_size=14)
DIGITS = random.Random(65).choices("0123456789abcdef", k=200_000)


@given(st.lists(words, max_size=6), st.lists(st.integers(0, 5) | words, max_size=8))
def test_exactly_the_pieces_of_secrets_are_hidden(secrets, parts):
    text = "".join(
        (secrets[part % len(secrets)] if secrets else "") if isinstance(part, int) else part
        for part in parts
    )

    shown = hide_known(text, [*map(Secret, secrets)])

    assert [*shown.replace(MASK, "")] == hide_slowly(text, secrets)


@pytest.mark.slow
@pytest.mark.parametrize(
    "run", [*range(2), *(pytest.param(run, marks=pytest.mark.slow) for run in range(2, 20))]
)
def test_long_texts_hide_exactly_the_pieces_of_secrets(run):
    """Texts with too many words to look for each of them in the secrets."""
    chance = random.Random(run)
    for _ in range(25):
        alphabet = chance.choice(["ab", "0123456789abcdef", "abc-/ é云"])
        secrets = ["".join(chance.choices(alphabet, k=chance.randrange(7, 60))) for _ in range(30)]
        secrets += [f"alike-{number:07}-alike" for number in range(chance.choice([0, 30]))]
        parts = [cut(chance, chance.choice(secrets)) for _ in range(chance.randrange(20))]
        parts += ["".join(chance.choices(alphabet, k=chance.randrange(30))) for _ in parts]
        parts += ["words", " and more", ", ", "-"]
        chance.shuffle(parts)
        text = "".join(parts)

        shown = hide_known(text, [*map(Secret, secrets)])

        assert [*shown.replace(MASK, "")] == hide_slowly(text, secrets)


def test_many_secrets_without_their_ends_are_hidden():
    secrets = ["".join(DIGITS[at : at + 50]) for at in range(0, 5_000, 50)]
    text = " ".join(secret[1:-1] for secret in secrets)

    assert hide_known(text, [*map(Secret, secrets)]) == " ".join([MASK] * 100)


@pytest.mark.parametrize("beginning", ["beginning-", "a-much-longer-beginning-"])
def test_secrets_that_begin_and_end_alike_are_hidden(beginning):
    secrets = [f"{beginning}{number:04}-ending" for number in range(2_000)]
    text = " ".join([*secrets[:40], beginning, "ending"])

    shown = hide_known(text, [*map(Secret, secrets)])

    assert shown == " ".join([*[MASK] * 41, "ending"])


def cut(chance, secret):
    start, end = sorted(chance.sample(range(len(secret) + 1), 2))
    return chance.choice([secret, secret[start:end]])


@pytest.mark.parametrize("count", [0, 1, 100, 1_000])
def test_work_of_hiding_is_bounded_by_the_text(count):
    """A set of all pieces, for comparison, takes 4,100 instructions per secret."""
    secrets = [Secret(f"{number:05}" + "secret-" * 22) for number in range(count)]
    text = "TypeError: Cannot read properties of undefined at /var/user/index.js:12, hidden: "

    assert count_steps(hide_known, text, secrets) < 60 * len(text) + 40 * count


MANY = {
    "distinct": lambda number: "".join(DIGITS[104 * number : 104 * number + 104]),
    "beginning alike": lambda number: "A" * 98 + f"{number:06}",
    "ending alike": lambda number: f"{number:06}" + "secret-" * 14,
    "with a name": lambda number: "user-token-" + "".join(DIGITS[93 * number : 93 * number + 93]),
}
"""Kinds of secrets of 104 characters."""


@pytest.mark.parametrize("text", ["first", "last", "digits"])
@pytest.mark.parametrize("kind", MANY)
def test_work_is_bounded_if_the_text_repeats_secrets(kind, text):
    """A text that repeats the request, or is as long. At worst it took 4,200,000 instructions."""
    secrets = [MANY[kind](number) for number in range(1_000)]
    texts = {
        "first": json.dumps(secrets),
        "last": json.dumps(secrets[::-1]),
        "digits": "".join(DIGITS[::-1]),
    }
    long = texts[text][:MAX_EXAMINED]

    assert count_steps(hide_known, long, [*map(Secret, secrets)]) < 125 * len(long) + 45_000


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 10])
def test_work_is_bounded_if_the_text_begins_a_long_secret(count):
    size = len(DIGITS) // count
    secrets = ["".join(DIGITS[number * size :][:size]) for number in range(count)]
    text = "".join(secret[: MAX_EXAMINED // count] for secret in secrets)

    assert count_steps(hide_known, text, [*map(Secret, secrets)]) < 320 * len(text)
    assert hide_known(text, [*map(Secret, secrets)]).replace(MASK, "") == ""


@pytest.mark.parametrize(
    ("fields", "maximum"),
    [({"deviceTokens": ["x" * 104] * 1_000}, 55), ({"more": [{"token": "x" * 104}] * 1_000}, 150)],
)
def test_work_of_finding_secrets_is_bounded(fields, maximum):
    assert count_steps(lambda: [*find_secrets(fields)]) < maximum * 1_000


NESTED = {
    "app_Secret": "a", "more": [{"TOKEN": {"x": "b", "n": 1}}, "no"], "ticket": ["c"], 1: "no",
    "name": Secret("d"),
}  # fmt: skip


def test_secrets_are_found_at_any_depth():
    assert {secret.reveal() for secret in find_secrets(NESTED)} == {"a", "b", "c", "d"}
    assert {secret.reveal() for secret in find_secrets(NESTED, min_length=2)} == set()
    assert [*find_secrets({"token": ["1234567", "12345678"]}, min_length=8)] == ["12345678"]
    deep: object = {"token": "e"}
    for _ in range(10_000):
        deep = [deep]
    assert [*find_secrets(deep)] == ["e"]


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
