"""Secrets stay out of what is printed."""

import pickle

import pytest

from tcb_async._redact import MASK, Secret, blot


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
