"""Every kind of fault of the emulator, by name."""

from tcb_async.emulator import Fault

_LIST = b'{"errcode":0,"errmsg":"ok","total_count":%b,"functions":[%b]}'
_ROW = (
    b'{"mod_time":"2019-06-21 15:23:54","add_time":"2019-02-27 15:34:59",'
    b'"runtime":"Nodejs8.9","name":%b,"status":"Active"}'
)
# Bodies that have broken JSON clients, each in a 200 with the right content type.
_BODIES = {
    "empty": b"",
    "null": b"null",
    "array": b"[]",
    "number": b"20",
    "no_errcode": b"{}",
    "html_as_json": b"<!DOCTYPE html><html><body>Please wait</body></html>",
    "bom": b"\xef\xbb\xbf" + _LIST % (b"1", _ROW % b'"login"'),
    "invalid_utf8": _LIST % (b"1", _ROW % b'"log\xff\xfein"'),
    "nan": _LIST % (b"NaN", b""),
    "infinity": _LIST % (b"1e999", b""),
    "negative_total": _LIST % (b"-1", b""),
    "huge_number": _LIST % (b"9" * 5000, b""),
    "deep_nesting": b"[" * 100_000 + b"]" * 100_000,
    "wrong_types": _LIST % (b'"many"', b"17"),
    "null_row": _LIST % (b"1", b"null"),
    "null_name": _LIST % (b"1", _ROW % b"null"),
    "trailing_garbage": _LIST % (b"0", b"") + b"}",
}

FAULTS = {
    fault.name: fault
    for fault in (
        *(Fault.body(body, name) for name, body in _BODIES.items()),
        Fault.errcode(-1),
        Fault.errcode(-1000),
        Fault.status(500),
        Fault.status(502),
        Fault.status(503),
        Fault.status(429, b"", {"Retry-After": "1"}),
        Fault.status(307, b"", {"Location": "http://127.0.0.1:9/"}),
        Fault.truncated(),
        Fault.disconnect(),
        Fault.reset(),
        Fault.drip(),
        Fault.hang(),
        Fault.endless(),
    )
}
