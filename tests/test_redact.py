"""Secrets stay out of what is printed."""

import pickle
import time

import pytest
from given_away import disguises, leaks_of
from hypothesis import given
from hypothesis import strategies as st

from tcb_async._redact import MASK, Secret, blot, hide

SECRET = "pl@nt?>/+s3cr~t="


def test_a_secret_is_a_string_that_does_not_show_itself() -> None:
    secret = Secret("s3cr3t-t0ken")

    assert secret == "s3cr3t-t0ken"
    assert "s3cr3t" not in repr(secret)
    assert "s3cr3t" not in repr({"token": [secret]})
    assert pickle.loads(pickle.dumps(secret)) == secret  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    "text",
    [
        "invalid access_token=abc123 given",
        'html <a href="?access_token=abc123&x=1">',
        '{"secret": "abc123"}',
        "refresh_token: abc123",
        "you sent abc123, which is wrong",
        "deadbeefdeadbeefdeadbeef-abc123-0123456789",
    ],
)
def test_given_named_and_token_like_secrets_are_blotted_out(text: str) -> None:
    shown = blot(text, ["abc123"])

    assert "abc123" not in shown
    assert MASK in shown


def test_ordinary_text_is_left_alone() -> None:
    text = "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist"

    assert blot(text, ["", "other"]) == text


@pytest.mark.parametrize("disguise", disguises(""))
def test_a_given_secret_is_hidden_in_every_disguise(disguise: str) -> None:
    text = f"you said {disguises(SECRET)[disguise]}, it seems"

    shown = hide(text, [SECRET])

    assert MASK in shown
    assert leaks_of([SECRET], [shown]) == []


def test_several_secrets_are_hidden_even_where_each_is_in_another_disguise() -> None:
    other = "0ther-s3cret"
    text = f"{disguises(SECRET)['URL-encoded']} {disguises(other)['base64']} {SECRET} {other}"

    assert leaks_of([SECRET, other], [hide(text, [SECRET, other])]) == []


def test_escapes_without_a_secret_in_them_are_left_alone() -> None:
    text = r"100 % sure &amp; \n certain %41"

    assert hide(text, [SECRET]) == text


fillers = st.sampled_from(["", " ", "x", "- ", "x" * 23 + " ", "x" * 40, "x" * 200 + " ", SECRET])


@given(st.lists(st.tuples(fillers, st.integers(0, 40)), max_size=4), st.integers(1, 150))
def test_however_a_long_text_is_cut_no_part_of_a_secret_is_left_at_the_cut(
    before: list[tuple[str, int]], length: int
) -> None:
    text = "".join(filler * times for filler, times in before) + f" {SECRET}" * 80

    shown = blot(text, [SECRET], length=length)

    assert len(shown) <= length
    assert leaks_of([SECRET], [shown]) == []


def test_no_part_of_a_secret_is_left_where_what_is_looked_at_ends() -> None:
    for run in range(24, 500):
        shown = blot("x" * run + f" {SECRET}" * 80, [SECRET], length=40)

        assert leaks_of([SECRET], [shown]) == []


def test_a_secret_of_one_letter_does_not_hide_all_that_its_base64_begins_with() -> None:
    assert hide("Nothing happened", ["7"]) == "Nothing happened"


def test_what_comes_before_the_cut_is_shown() -> None:
    text = "it has nothing to hide, " * 1000

    assert blot(text, [SECRET], length=40) == text[:40]
    assert blot("9" * 5000, [SECRET], length=40) == MASK


@pytest.mark.parametrize("text", [" " * 2**22, "secret " * 2**19, "%5" * 2**21, "\\" * 2**22])
def test_a_text_of_megabytes_is_blotted_in_no_time(text: str) -> None:
    started = time.perf_counter()
    blot(text, [SECRET], length=500)

    assert time.perf_counter() - started < 0.5
