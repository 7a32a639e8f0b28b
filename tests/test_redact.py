"""A secret is a value that does not show itself, and a text that repeats one is not shown."""

import copy
import itertools
import json
import pickle
from urllib.parse import quote as url_encode
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tcb_async import Authorizer
from tcb_async._redact import (
    HIDDEN_TEXT,
    MASK,
    Secret,
    describe,
    escape_unprintable,
    find_secrets,
    hide_secrets,
    make_excerpt,
    repeats_secret,
)

TICKET = "tick@@@pl4nted-s3cret0"
APPSECRET = "8f14e45fceea167a5a36dedd4bea2543"


class TestSecret:
    def test_text_is_shown_only_on_request(self):
        secret = Secret("s3cr3t-t0ken")

        assert secret.reveal() == "s3cr3t-t0ken"
        assert {repr(secret), str(secret), f"{secret}"} == {"Secret([hidden])"}
        assert "s3cr3t" not in repr({"token": [secret]})
        with pytest.raises(TypeError, match="not JSON serializable"):
            json.dumps(secret)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_is_not_pickled(self, protocol):
        with pytest.raises(TypeError, match=r"not pickled: pickle what reveal\(\) returns"):
            pickle.dumps([Secret("s3cr3t-t0ken")], protocol)

    def test_a_copy_is_the_same_secret(self):
        merchant = Authorizer("wx0123456789abcdef", "s3cr3t-t0ken")
        for copied in (copy.copy(merchant), copy.deepcopy(merchant)):
            assert copied == merchant
            assert copied.refresh_token is merchant.refresh_token
        assert copy.copy(merchant.refresh_token) is merchant.refresh_token

    @given(st.text(), st.text())
    def test_secrets_are_equal_if_their_texts_are(self, one, other):
        assert Secret(Secret(one)) == one
        assert one == Secret(one)
        assert hash(Secret(one)) == hash(one)
        assert (Secret(one) == Secret(other)) == (one == other) == (Secret(one) == other)
        assert Secret(one) != one.encode()


def to_query(text):
    return str(URL("/").with_query({"": text}))[3:]


ENCODERS = [str, url_encode, quote_plus, to_query]


class TestRepeatedSecret:
    def test_eight_characters_of_a_secret_hide_a_text(self):
        for start, end in itertools.combinations(range(len(APPSECRET) + 1), 2):
            text = f"no {APPSECRET[start:end]}"

            shown = hide_secrets(text, [Secret("other secret"), Secret(APPSECRET)])

            assert shown == (HIDDEN_TEXT if end - start >= 8 else text)

    @given(st.text("aB4@+/=_ %云", min_size=8, max_size=20), st.sampled_from(ENCODERS), st.data())
    def test_url_encoded_piece_hides_a_text(self, secret, encode, data):
        start = data.draw(st.integers(0, len(secret) - 8))

        text = f"no {encode(secret[start : start + 8])} !"

        assert hide_secrets(text, [Secret(secret)]) == HIDDEN_TEXT

    def test_secret_of_fewer_characters_hides_nothing(self):
        secrets = [Secret(""), Secret("token"), Secret("1234567"), Secret("----abcd")]

        assert not repeats_secret("token 1234567 abcdefgh", [*secrets, Secret("efgh----")])

    @pytest.mark.parametrize(
        "text",
        [
            r"invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4 \ not in 'whitelist' \u4e91 100% sure \n\\",
            "connect failed mysql://root@10.0.0.1:3306/db, ask admin@example.org",
        ],
    )
    def test_text_without_a_secret_is_shown(self, text):
        assert hide_secrets(text, [Secret(TICKET), Secret(APPSECRET)]) == text


class TestQuotedText:
    """A text that is not WeChat's."""

    def test_words_like_a_token_are_hidden(self):
        assert make_excerpt(f"not {APPSECRET}-abc123 again", []) == f"not {MASK} again"
        assert make_excerpt(f"not {APPSECRET[:23]} again", []) == f"not {APPSECRET[:23]} again"
        assert MASK not in make_excerpt(
            "环境不存在或者已经被删除了请检查环境是否正确并重试一次", []
        )

    @given(st.integers(0, 130), st.sampled_from(ENCODERS))
    def test_cut_leaves_no_part_of_a_secret(self, before, encode):
        shown = make_excerpt("- " * before + encode(TICKET), [Secret(TICKET)])

        assert shown == HIDDEN_TEXT
        assert make_excerpt("- " * 4000, [Secret(TICKET)]) == "- " * 60


class _UnprintableError(Exception):
    def __str__(self):
        raise LookupError(TICKET)


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ValueError("bad\nvalue"), r"ValueError: bad\nvalue"),
        (ValueError(f"bad {TICKET}"), f"ValueError: {HIDDEN_TEXT}"),
        (ValueError(), "ValueError"),
        (_UnprintableError(), "_UnprintableError"),
    ],
)
def test_error_of_other_code_is_described_in_a_line(error, described):
    assert describe(error, Secret(TICKET)) == described


def test_texts_below_a_telling_key_are_secrets():
    fields = {
        "app_Secret": "a", "more": [{"accessTOKEN": {"x": "b", 1: ["c"]}}, "shown"],
        "ticket": ("d", 12345678), 1: "shown", "name": Secret("e"), "env": "shown",
    }  # fmt: skip

    assert sorted(secret.reveal() for secret in find_secrets(fields)) == ["a", "b", "c", "d", "e"]


def test_wide_spaces_are_shown():
    assert (
        escape_unprintable("测试\u3000环境\u00a0A\u2028\u200b")
        == "测试\u3000环境\u00a0A\\u2028\\u200b"
    )
