"""A cursor is a value that outlives the process, and garbage is refused in a sentence."""

import base64
import pickle
import re
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model import IDENTITY, ChangingList, Outcome, Row, carry_out

from tcb_async import ConfigurationError
from tcb_async.cursor import DIGEST_SIZE, Cursor, digest
from tcb_async.pagination.identity import Identity
from tcb_async.pagination.options import read_start
from tcb_async.pagination.page import Page
from tcb_async.pagination.plan import Plan

texts = st.text(max_size=60)
rows = st.integers(0, 2**63 - 1)
packed = st.lists(st.binary(min_size=DIGEST_SIZE, max_size=DIGEST_SIZE), max_size=40).map(b"".join)
cursors = st.builds(
    Cursor,
    scope=texts,
    offset=rows,
    total=rows,
    last=st.one_of(st.just(b""), st.binary(min_size=DIGEST_SIZE, max_size=DIGEST_SIZE)),
    names=packed,
    drift=st.booleans(),
)


def checked(body):
    text = zlib.crc32(body).to_bytes(4, "big") + body
    return "1" + base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@given(cursors)
def test_it_pickles_and_its_string_reads_back_and_goes_into_a_url_as_it_is(cursor):
    assert Cursor.parse(str(cursor)) == cursor
    assert pickle.loads(pickle.dumps(cursor)) == cursor  # noqa: S301 - our own bytes
    assert re.fullmatch(r"[A-Za-z0-9_-]+", str(cursor))


def test_its_repr_shows_where_it_is():
    assert repr(Cursor("env")) == "Cursor(scope='env', offset=0, total=0, drift=False)"


@given(cursors, st.data())
def test_a_damaged_string_is_refused(cursor, data):
    text = str(cursor)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("AQgw_-!é ").filter(lambda letter: letter != text[place]))
    damaged = text[:place] + other + text[place + 1 :]

    with suppress(ValueError):
        assert Cursor.parse(damaged) == cursor, "only bits that mean nothing may differ"


@given(st.text(max_size=200))
def test_garbage_is_refused(text):
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


@pytest.mark.parametrize(
    "fields",
    [
        "nonsense",
        {},
        [],
        {"scope": b"env"},
        {"scope": "env", "offset": 1.5},
        {"scope": "env", "total": None},
        {"scope": "env", "last": 8},
        {"scope": "env", "names": [1]},
        {"scope": "env", "drift": 1},
        msgspec.Raw(b"\x91" * 100_000),
    ],
)
def test_a_string_with_a_right_checksum_and_other_fields_is_refused(fields):
    with pytest.raises(ValueError, match="checksum does not fit"):
        Cursor.parse(checked(msgspec.msgpack.encode(fields)))


def test_a_string_of_another_version_says_which_version_it_is():
    with pytest.raises(ValueError, match="version '2', not '1'"):
        Cursor.parse("2" + str(Cursor("env"))[1:])


@pytest.mark.parametrize(("scope", "other"), [("env-1", ""), ("", "env-1"), ("env-1", "env-12")])
def test_a_cursor_of_a_different_list_is_refused(scope, other):
    cursor = Cursor(other, 39, 57)

    for resume in (cursor, str(cursor)):
        with pytest.raises(ConfigurationError, match=f"a cursor of '{other}', not of '{scope}'"):
            read_start(scope, resume)


def test_a_digest_is_the_same_in_every_process():
    program = "from tcb_async.cursor import digest; print(digest('登录').hex())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)  # noqa: S603, PLW1510

    assert done.stdout.strip() == digest("登录").hex() == "e66b131edfece303"


def test_its_length_is_11_characters_an_item():
    few = Cursor("test-777bb9", 39, 57, bytes(DIGEST_SIZE), bytes(40 * DIGEST_SIZE))
    many = Cursor("test-777bb9", 39, 57, bytes(DIGEST_SIZE), bytes(100_040 * DIGEST_SIZE))

    assert len(str(few)) < 110 + 11 * 40
    assert len(str(many)) - len(str(few)) < 11 * 100_000


@pytest.mark.slow
def test_cursor_of_long_names_and_many_items_is_accepted():
    long = Identity[Row](lambda row: row.name.ljust(50_000, "x"))
    first = Plan(long)
    outcome = Outcome(first)
    carry_out(first, ChangingList.of(60).page, outcome, leave_after=30)
    assert Cursor.parse(str(first.cursor(9))).count == 30

    walked = Plan(IDENTITY, limit=50_000)
    for _ in range(2):
        request = walked.next_request()
        rows = [Row(f"f{row}") for row in range(request.offset, request.offset + request.limit)]
        walked.receive(request, Page(rows, 200_000))
    assert Cursor.parse(str(walked.cursor())).count == 99_999


@pytest.mark.slow
def test_forged_string_costs_memory_in_proportion_to_its_length():
    text = str(Cursor("env", 0, 0, b"", bytes(range(256)) * 4000))
    tracemalloc.start()
    try:
        plan = Plan(IDENTITY, start=Cursor.parse(text))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert plan.cursor().count == 128_000
    assert peak < 20 * len(text)


def test_a_cursor_without_a_last_row_is_the_beginning():
    assert Cursor("env") == Cursor("env", 0, 0, b"", b"", drift=False)
    assert repr(Cursor("env", 39, 57)) == ("Cursor(scope='env', offset=39, total=57, drift=False)")
