"""Everything that a debugger, a log or a crash report can read from an error.

Rule: this module must examine every place where a secret could leak.
"""

import base64
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
    for behind in (error.__cause__, error.__context__):
        if behind is not None:
            yield from shown_by(behind)


def logged(records):
    """Everything that log records show to a handler, their arguments included."""
    for record in records:
        yield record.getMessage()
        yield repr(vars(record))
        if record.exc_info and record.exc_info[1] is not None:
            yield from shown_by(record.exc_info[1])


def encodings(secret):
    """A secret as a server may say it back."""
    return {
        "plain": secret,
        "URL-encoded": quote(secret, safe=""),
        "in the query of a URL": str(URL("/").with_query({"": secret}))[3:],
        "base64": base64.b64encode(secret.encode()).decode(),
        "base64, at an odd place": base64.b64encode(f"x{secret}".encode()).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(f"xy{secret}".encode()).decode(),
    }


def leaks_of(secrets, said):
    """The texts that contain a secret, or a telling part of one, in any encoding."""
    looked_for = set()
    for secret in secrets:
        looked_for.update(encodings(secret).values())
        looked_for.update(secret[at : at + PART] for at in range(len(secret) - PART + 1))
    return [words for words in said if any(form in words for form in looked_for)]
