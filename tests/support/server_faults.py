"""Every wrong reply that a server is known to send, by name.

Rule: a fault spoils one thing; the rest of the reply is right. So a client that does
not check that one thing accepts the reply, and its test fails.
"""

import asyncio
import functools
import gzip
import json
import zlib

import brotli
from raw_server import http_reply

MIB = 1024 * 1024
LATE = 0.01
"""Seconds after which ``late_unasked_reply`` is sent, so that it meets an idle connection."""


async def until_late():
    """Deliver a reply ``LATE`` to a client on the same loop."""
    await asyncio.sleep(2 * LATE)
    # After a blocked loop, both waits finish in one iteration; the socket is read in the next.
    await asyncio.sleep(LATE)


def row(**changes):
    """Return the documented sample's function, with fields changed."""
    return {
        "mod_time": "2019-06-21 15:23:54",
        "add_time": "2019-02-27 15:34:59",
        "runtime": "Nodejs8.9",
        "name": "login",
        "status": "Active",
        **changes,
    }


def listing(**changes):
    """Return the body of a reply that lists one function, with its top fields changed."""
    reply = {"errcode": 0, "errmsg": "ok", "total_count": 1, "functions": [row()], **changes}
    return json.dumps(reply, separators=(",", ":")).encode()


LISTING = listing()
"""The body of a right reply."""

OK = http_reply(LISTING)
UNTIL_CLOSED = http_reply(LISTING, headers={"Content-Length": None, "Connection": "close"})
CHUNKED = http_reply(b"", headers={"Content-Length": None, "Transfer-Encoding": "chunked"})


def then_close(data):
    """Send ``data``, then close the connection (FIN)."""

    async def handle(exchange):
        await exchange.send(data)
        await exchange.close()

    return handle


def then_reset(data):
    """Send ``data``, then reset the connection (RST)."""

    async def handle(exchange):
        await exchange.send(data)
        await exchange.reset()

    return handle


def forever(first, again, *, every=0.0):
    """Send ``first``, then ``again`` each ``every`` seconds, until the client leaves."""

    async def handle(exchange):
        await exchange.send(first)
        while True:
            await exchange.send(again)
            await asyncio.sleep(every)

    return handle


def once(fault):
    """Send a fault to the server's first request, and a right reply to all others."""

    async def handle(exchange):
        await exchange.answer(OK if exchange.request.n else fault)

    return handle


@functools.cache
def bomb(encoding):
    """Return a reply that inflates to 16 MiB of spaces, which JSON allows, and a right reply."""
    compress = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": functools.partial(brotli.compress, quality=5),
    }
    body = compress[encoding](b" " * 16 * MIB + LISTING)
    return http_reply(body, headers={"Content-Encoding": encoding})


async def _dropped_keep_alive(exchange):
    if exchange.request.nth > 0:
        await exchange.close()
    else:
        await exchange.send(OK)


_UNASKED = http_reply(listing(total_count=0, functions=[]))


async def _unasked_reply(exchange):
    await exchange.send(OK + _UNASKED if exchange.request.nth == 0 else OK)


async def _late_unasked_reply(exchange):
    await exchange.send(OK)
    if exchange.request.nth == 0:
        await asyncio.sleep(LATE)
        await exchange.send(_UNASKED)


_CONNECTION = {
    "closed": then_close(b""),
    "closed_in_headers": then_close(OK[:40]),
    "reset": then_reset(b""),
    "reset_in_headers": then_reset(OK[:40]),
    "reset_in_body": then_reset(OK[:-40]),
    "dropped_keep_alive": _dropped_keep_alive,
    "unasked_reply": _unasked_reply,
    "late_unasked_reply": _late_unasked_reply,
    "hang": b"",
    "hang_in_headers": OK[:40],
    "hang_in_body": OK[:-40],
    "drip_in_headers": forever(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x", every=0.02),
    "drip_in_body": forever(CHUNKED, b"1\r\n \r\n", every=0.02),
    "endless_continue": forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", every=0.02),
    "endless_headers": forever(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 1000),
    "endless_header": forever(b"HTTP/1.1 200 OK\r\nX-More: ", b"x" * 65536),
    "endless_body": forever(CHUNKED, b"40000\r\n" + b" " * 0x40000 + b"\r\n"),
    "endless_body_without_length": forever(UNTIL_CLOSED[: -len(LISTING)], b" " * 0x40000),
    "endless_body_with_length": forever(
        http_reply(b"", headers={"Content-Length": str(10**15)}), b" " * 0x40000
    ),
    "truncated_with_length": then_close(OK[:-40]),
    "truncated_without_length": then_close(UNTIL_CLOSED[:-40]),
    "truncated_chunked": then_close(CHUNKED + b"%x\r\n" % len(LISTING) + LISTING[:-40]),
    "unended_chunked": then_close(CHUNKED + b"%x\r\n" % len(LISTING) + LISTING + b"\r\n"),
}

_HTTP = {
    "not_http": then_close(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "no_status_line": then_close(LISTING),
    "bad_chunk_size": then_close(CHUNKED + b"zz\r\n" + LISTING + b"\r\n0\r\n\r\n"),
    "bad_length": http_reply(LISTING, headers={"Content-Length": "-1"}),
    "two_lengths": http_reply(LISTING, headers={"Content-Length": "5\r\nContent-Length: 6"}),
    "nul_in_header": http_reply(LISTING, headers={"X-Nul": "\0"}),
    "bad_gzip": http_reply(LISTING, headers={"Content-Encoding": "gzip"}),
    "truncated_gzip": http_reply(
        gzip.compress(LISTING, mtime=0)[:-20], headers={"Content-Encoding": "gzip"}
    ),
    "gzip_bomb": lambda *_: bomb("gzip"),
    "deflate_bomb": lambda *_: bomb("deflate"),
    "br_bomb": lambda *_: bomb("br"),
    **{
        f"redirect_{code}": http_reply(LISTING, code, {"Location": "/elsewhere"})
        for code in (301, 302, 303, 307, 308)
    },
    **{f"status_{code}": http_reply(LISTING, code) for code in (403, 404, 429, 500, 502, 503, 504)},
    "no_content": http_reply(b"", 204, {"Content-Length": None}),
    "html_error": http_reply(
        b"<html><h1>502 Bad Gateway</h1></html>", 502, {"Content-Type": "text/html"}
    ),
}

_BODIES = {
    "html": b"<!DOCTYPE html><html><title>Log in to the network</title></html>",
    "empty": b"",
    "spaces": b" \r\n",
    "nul_bytes": bytes(1000),
    "cut_json": LISTING[:-40],
    "cut_character": LISTING[: LISTING.index(b"login")] + b"\xe7\x99",
    "two_json": LISTING * 2,
    "bom": b"\xef\xbb\xbf" + LISTING,
    "utf_16": LISTING.decode().encode("utf-16"),
    "invalid_utf_8": listing(functions=[row(name="NAME")]).replace(b"NAME", b"log\xffin"),
    "lone_surrogate": listing(functions=[row(name="log\ud800in")]),
    "nan": listing(total_count=float("nan")),
    "infinity": listing(total_count=float("inf")),
    "huge_exponent": listing(total_count="N").replace(b'"N"', b"1e999"),
    "5000_digits": listing(total_count="N").replace(b'"N"', b"9" * 5000),
    "5000_digit_errcode": listing(errcode="N").replace(b'"N"', b"9" * 5000),
    "nested_arrays": b"[" * 100_000 + b"]" * 100_000,
    "nested_objects": b'{"a":' * 100_000 + b"0" + b"}" * 100_000,
    "nested_functions": listing(functions="N").replace(b'"N"', b"[" * 100_000 + b"]" * 100_000),
    "null": b"null",
    "true": b"true",
    "number": b"0",
    "string": b'"ok"',
    "array": b"[]",
    "no_keys": b"{}",
    "no_total": b'{"errcode":0,"errmsg":"ok","functions":[]}',
    "total_null": listing(total_count=None),
    "total_negative": listing(total_count=-1),
    "total_fraction": listing(total_count=1.5),
    "total_beyond_64_bits": listing(total_count=2**63),
    "total_text": listing(total_count="many"),
    "errcode_null": listing(errcode=None),
    "errcode_text": listing(errcode="ok"),
    "errcode_array": listing(errcode=[]),
    "errcode_object": listing(errcode={}),
    "functions_text": listing(functions="login"),
    "functions_object": listing(functions={"0": row()}),
    "function_null": listing(functions=[None]),
    "function_text": listing(functions=["login"]),
    "function_empty": listing(functions=[{}]),
    "name_null": listing(functions=[row(name=None)]),
    "name_number": listing(functions=[row(name=7)]),
    "name_empty": listing(functions=[row(name="")]),
    "status_number": listing(functions=[row(status=7)]),
    "runtime_object": listing(functions=[row(runtime={})]),
    "mod_time_text": listing(functions=[row(mod_time="yesterday")]),
    "mod_time_number": listing(functions=[row(mod_time=1561101834)]),
    "mod_time_impossible": listing(functions=[row(mod_time="2019-02-30 25:61:61")]),
}

FAULTS = {**_CONNECTION, **_HTTP, **{name: http_reply(body) for name, body in _BODIES.items()}}
"""Every fault, for ``RawServer``."""

ON_REUSE = frozenset({"dropped_keep_alive", "unasked_reply", "late_unasked_reply"})
"""The faults of a connection's second request; the first gets a right reply."""

ONLY_TIME_ENDS = frozenset(
    name for name in FAULTS if name.startswith(("hang", "drip", "endless_continue"))
)
"""The faults that only a limit on total time stops."""

UNENDING = frozenset(
    name for name in FAULTS if name.startswith("endless_body") or name.endswith("_bomb")
)
"""The faults that a limit on size stops, counted after decompression."""
