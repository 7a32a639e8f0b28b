"""A cursor is a value that outlives the process, and garbage is refused in a sentence."""

import base64
import pickle
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcb_async.cursor import Cursor

names = st.text(max_size=60)
rows = st.integers(0, 10**9)
cursors = st.builds(
    Cursor,
    scope=names,
    offset=rows,
    total=rows,
    seam=st.none() | names,
    trail=st.lists(names, max_size=3).map(tuple),
)


def sealed(body: bytes) -> str:
    signed = zlib.crc32(body).to_bytes(4, "big") + body
    return "1" + base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def reads_as(text: str) -> Cursor | None:
    try:
        return Cursor.parse(text)
    except ValueError:
        return None


@given(cursors)
def test_its_string_reads_back_to_the_same_cursor(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(cursors)
def test_it_pickles(cursor: Cursor) -> None:
    assert pickle.loads(pickle.dumps(cursor)) == cursor  # noqa: S301 - our own bytes


@given(cursors)
def test_its_string_goes_into_a_url_as_it_is(cursor: Cursor) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", str(cursor))


def test_its_string_is_short() -> None:
    trail = ("create-order", "list-orders", "health")
    assert len(str(Cursor("test-777bb9", 39, 57, "resize-image", trail))) < 120


def test_a_lone_surrogate_in_an_id_survives() -> None:
    cursor = Cursor("env", 1, 2, "\ud800")

    assert Cursor.parse(str(cursor)) == cursor


@given(cursors, st.data())
def test_a_damaged_string_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    text = str(cursor)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("AQgw_-!é ").filter(lambda letter: letter != text[place]))
    damaged = text[:place] + other + text[place + 1 :]

    assert reads_as(damaged) in {None, cursor}, "only bits that mean nothing may differ"


@given(st.text(max_size=200))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"{}",
        b"[]",
        b"[1,0,0,null]",
        b'["env",-1,0,null]',
        b'["env",0,-1,null]',
        b'["env",0,0,7]',
        b'["env",0,0,"f",7]',
        b'["env","0",0,"f"]',
        b"[" * 5000,
    ],
)
def test_a_well_sealed_string_with_other_fields_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(sealed(body))


def test_a_string_of_another_version_says_which_version_it_is() -> None:
    with pytest.raises(ValueError, match="version '2'"):
        Cursor.parse("2" + str(Cursor("env"))[1:])


def test_an_overlong_string_is_refused_unread() -> None:
    with pytest.raises(ValueError, match="10000 characters"):
        Cursor.parse("1" * 10_000)


def test_a_cursor_without_a_seam_is_the_beginning() -> None:
    assert Cursor("env") == Cursor("env", offset=0, total=0, seam=None, trail=())
