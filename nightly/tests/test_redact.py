"""Credentials that the client does not know are hidden in any text of WeChat's."""

from __future__ import annotations

import json
import string
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from secret_leaks import leaks_of

from tcb_async._redact import hide_all_like_a_token

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
SEEN = json.loads(
    (Path(__file__).parents[2] / "tests" / "samples" / "error_texts.json").read_bytes()
)
TEXTS = [seen["errmsg"] for seen in SEEN]


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

    shown = [hide_all_like_a_token(said), hide_all_like_a_token(said, length=length)]

    assert leaks_of([unknown], shown) == []
