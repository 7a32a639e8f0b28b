"""Documented replies and requests, spoilt at random in their bytes and in their JSON.

Rule: everything comes from one seed, so that every finding can be reproduced.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path

__all__ = ["REPLIES", "SECRET", "garbled", "spoilt"]

SECRET = "planted-secret_0123456789abcdefghijABCDEFGHIJ"
SAMPLES = Path(__file__).parents[1] / "tests" / "samples"

_SAMPLE = json.loads((SAMPLES / "listfunctions_reply.json").read_bytes())
_ROW = _SAMPLE["functions"][0]

REPLIES: tuple[object, ...] = (
    _SAMPLE,
    {**_SAMPLE, "total_count": 3, "functions": [{**_ROW, "name": f"fn-{n}"} for n in range(3)]},
    {**_SAMPLE, "functions": [{"name": "old", "status": "Active", "run_time": "Nodejs8.9"}]},
    {**_SAMPLE, "total_count": 0, "functions": []},
    {"errcode": -1, "errmsg": "system error rid: 61249f85-43a93e56-534b607a"},
    {"errcode": 40001, "errmsg": f"invalid credential {SECRET} hint: [Bt0s.5a1234567e]"},
    {"errcode": "42001", "errmsg": "access_token expired"},
    {"access_token": SECRET, "expires_in": 7200},
    {"component_access_token": SECRET, "expires_in": 7200},
    {
        "authorizer_access_token": SECRET,
        "expires_in": 7200,
        "authorizer_refresh_token": f"refreshtoken@@@{SECRET}",
    },
)
"""WeChat's documented answers, by endpoint."""

_KEYS = ("errcode", "errmsg", "total_count", "functions", "name", "status", "runtime", "run_time")
_KEYS += ("add_time", "mod_time", "access_token", "expires_in", "_time", "", "\ud800", "a\0b")

_SCALARS: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, -1000, 40014, 42001, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63)),
    *(10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), 7200.0),
    *("", "0", "-1", "1e3", " 0 ", "\uff10", "9" * 5000, "ok", "Active", "\ud800", "\0"),
    *("2019-02-30 25:61:61", "2019-02-27", "0001-01-01 00:00:00-23:59", "2019-W09-3", "\u2028"),
    *("2019-02-27T15:34:59+99:99", "20190227T153459", "9999-12-31 24:00:00", "15:34:59,5Z"),
    *(SECRET, f"access_token={SECRET}", f'"secret": "{SECRET}"', "rid: 1-2-3", "hint: [", "<html>"),
)

_SCRAPS = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\0", b"\xff", b"\xc0\xaf"),
    *(
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"\\u0000",
        b"\\ud800",
        b"\\u00e9",
        b"\\x",
    ),
    *(b'_time":', b'"errcode":', b'"errcode":0,', b"null", b"NaN", b"-", b"1e999", b"1E+5", b"00"),
    *(b"//", b"/**/", SECRET.encode(), b"rid: ", b"hint: [", b"'", b"<", b"%ff", b"+"),
)

_RUNS = (
    b"[",
    b'{"a":',
    b" ",
    b"9",
    b"\\",
    b'"',
    b"a=",
    b"secret=",
    b"rid: ",
    b"\xff",
    b"1-",
    b"[]",
)


def spoilt(chance, document):
    """Return a document with nothing, something or much of it wrong."""
    if chance.random() < 0.7:
        document = copy.deepcopy(document)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            document = _with_another_value(chance, document)
    data = _encoded(chance, document)
    return garbled(chance, data) if chance.random() < 0.4 else data


def garbled(chance, data):
    """Return bytes of which some are missing, double, other or more."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        data = chance.choice(_BYTES)(chance, data)
    return data


def _encoded(chance, document):
    text = json.dumps(
        document,
        ensure_ascii=chance.random() < 0.5,
        separators=(",", ":") if chance.random() < 0.7 else None,
    )
    return text.encode("utf-8", "surrogatepass")


def _with_another_value(chance, document):
    """Change one thing, anywhere in a document, in place where that can be."""
    if not isinstance(document, dict | list) or not document or chance.random() < 0.03:
        return _value(chance, document)
    parent = document
    while True:
        key = chance.choice(list(parent)) if isinstance(parent, dict) else _index(chance, parent)
        child = parent[key]
        if not isinstance(child, dict | list) or not child or chance.random() < 0.3:
            break
        parent = child
    _change(chance, parent, key)
    return document


def _index(chance, rows):
    return chance.randrange(len(rows))


def _change(chance, parent, key):
    kind = chance.randrange(6)
    if kind <= 2:
        parent[key] = _value(chance, parent[key])
    elif kind == 3:
        del parent[key]
    elif isinstance(parent, dict):
        parent[chance.choice(_KEYS)] = parent[key] if kind == 4 else _value(chance, parent[key])
    else:
        parent.insert(chance.randrange(len(parent) + 1), copy.deepcopy(parent[key]))


def _value(chance, old):
    match chance.randrange(8):
        case 0:
            return [old] * chance.choice((0, 1, 2, 50))
        case 1:
            return {chance.choice(_KEYS): old}
        case 2:
            return str(old)
        case 3:
            return f"{old}{chance.choice(_SCALARS)}"
        case _:
            return chance.choice(_SCALARS)


def _flip(chance, data):
    at = _place(chance, data)
    return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]


def _drop(chance, data):
    at = _place(chance, data)
    return data[:at] + data[at + _length(chance) :]


def _double(chance, data):
    at = _place(chance, data)
    return data[:at] + data[at : at + _length(chance)] + data[at:]


def _cut(chance, data):
    return data[: _place(chance, data)]


def _insert(chance, data):
    at = _place(chance, data)
    return data[:at] + chance.choice(_SCRAPS) + data[at:]


def _replace(chance, data):
    return data.replace(chance.choice(_SCRAPS), chance.choice(_SCRAPS))


def _insert_run(chance, data):
    """Insert the same again and again: where a parser recurses, or a pattern backtracks."""
    at, size = _place(chance, data), chance.choice((10, 100, 1000))
    if chance.random() < 0.01:
        size = 100_000
    return data[:at] + chance.choice(_RUNS) * size + data[at:]


_BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_flip, _flip, _drop, _double, _cut, _insert, _insert, _insert, _replace, _insert_run),
)


def _place(chance, data):
    return chance.randrange(len(data) + 1)


def _length(chance):
    return chance.choice((1, 1, 2, 4, 16, 64))
