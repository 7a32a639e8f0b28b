"""Everything that a program or a log shows of an error.

Rule: this module must examine every place where a secret could leak.
"""

import functools
import pickle
import traceback
from urllib.parse import quote

from yarl import URL

PART = 8  # characters


def shown_by(error):
    """Everything that an error shows: its text, its attributes and its traceback."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield repr(pickle.dumps(error))
    yield from traceback.format_exception(error)
    for earlier in (error.__cause__, error.__context__):
        if earlier is not None:
            yield from shown_by(earlier)


def logged(records):
    """Everything that log records show to a handler, their arguments included."""
    for record in records:
        yield record.getMessage()
        yield repr(vars(record))
        if record.exc_info and record.exc_info[1] is not None:
            yield from shown_by(record.exc_info[1])


def encode(secret):
    """A secret as it is, and as programs and aiohttp encode it for a URL."""
    return [secret, quote(secret, safe=""), str(URL("/").with_query({"": secret}))[3:]]


def leaks_of(secrets, shown):
    """The texts that contain eight consecutive characters of a secret, plain or encoded."""
    pieces = set().union(*map(_cut, secrets))
    return [text for text in shown if any(piece in text for piece in pieces)]


@functools.cache
def _cut(secret):
    parts = [secret[at : at + PART] for at in range(len(secret) - PART + 1)]
    return {piece for part in parts for piece in encode(part)}
