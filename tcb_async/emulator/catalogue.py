"""One fault of every kind, by name. Rule: a test of all faults iterates over this table."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tcb_async.emulator.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

_OK = b'{"errcode":0,"errmsg":"ok","total_count":%b,"functions":[%b]}'
_ROW = (
    b'{"mod_time":"2019-06-21 15:23:54","add_time":"2019-02-27 15:34:59",'
    b'"runtime":"Nodejs8.9","name":%b,"status":"Active"}'
)
_BODIES = {
    "empty": b"",
    "null": b"null",
    "array": b"[]",
    "number": b"20",
    "no_errcode": b"{}",
    "html_as_json": b"<!DOCTYPE html><html><body>Please wait</body></html>",
    "bom": b"\xef\xbb\xbf" + _OK % (b"1", _ROW % b'"login"'),
    "invalid_utf8": _OK % (b"1", _ROW % b'"log\xff\xfein"'),
    "nan": _OK % (b"NaN", b""),
    "infinity": _OK % (b"1e999", b""),
    "negative_total": _OK % (b"-1", b""),
    "huge_number": _OK % (b"9" * 5000, b""),
    "deep_nesting": b"[" * 100_000 + b"]" * 100_000,
    "wrong_types": _OK % (b'"many"', b"17"),
    "null_row": _OK % (b"1", b"null"),
    "null_name": _OK % (b"1", _ROW % b"null"),
    "trailing_garbage": _OK % (b"0", b"") + b"}",
}
_RATE_LIMITED = Fault.status(429, b"", {"Retry-After": "1"})

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        **{name: Fault.body(body, name) for name, body in _BODIES.items()},
        **{
            fault.name: fault
            for fault in (
                Fault.errcode(-1),
                Fault.errcode(-1000),
                Fault.status(500),
                Fault.status(502),
                Fault.status(503),
                _RATE_LIMITED,
                Fault.redirect("http://127.0.0.1:9/"),
                Fault.truncated(),
                Fault.truncated(declared=False),
                Fault.disconnect(),
                Fault.reset(),
                Fault.drip(),
                Fault.hang(),
                Fault.endless(),
                Fault.gzip_bomb(),
            )
        },
    }
)
"""Every kind of fault by name. Only the client's timeout ends ``drip`` and ``hang``."""
