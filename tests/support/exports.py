"""What exports leave behind, for tests of them."""

import csv
import io
import json

from tcb_async.emulator import Fault


def fail_from(emulator, row, fault=None):
    """Let every page from a row on meet a fault."""
    fault = fault or Fault.errcode(48001)
    emulator.script([fault] * 99, when=lambda request: (request.offset or 0) >= row)


def rows_in(text, form):
    """Read a document with the standard library's readers."""
    if form == "json":
        return json.loads(text)
    if form == "ndjson":
        return [json.loads(line) for line in text.split("\n")[:-1]]
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def listing(path):
    """The names in a finished export."""
    text = path.read_bytes().decode()
    return [row["name"] for row in rows_in(text, path.suffix[1:])]


def files(folder):
    return {path.name for path in folder.iterdir()}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
