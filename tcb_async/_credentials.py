"""Checks of tokens, appsecrets and appids.

Rule: an error describes a value without showing it.
"""

from __future__ import annotations

import re

from tcb_async._redact import MASK, Secret, to_plain
from tcb_async.exceptions import ConfigurationError

_APPID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNDECODED = re.compile("[\ufffd\ud800-\udfff]")  # they stand for bytes that are not UTF-8
_APPSECRET = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)


def find_secret_problem(value: object) -> str | None:
    """Return the reason why a value cannot be a token, secret or ticket; None if it can be one."""
    value = value.reveal() if isinstance(value, Secret) else to_plain(value)
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}, not str"
    if not value:
        return "is empty"
    if MASK in value:
        return "is the mask of a Secret, not its text: pass the result of its reveal()"
    if value.split() != [value]:
        return "contains white space (a line break from a file, perhaps)"
    if _UNDECODED.search(value):
        return "contains bytes that are not UTF-8"
    return None if value.isprintable() else "contains an invisible character"


def check_secret(name: str, value: str | Secret) -> Secret:
    """Return a value as a `Secret`; refuse a value that cannot be a secret."""
    if (problem := find_secret_problem(value)) is not None:
        raise ConfigurationError(f"{name} {problem}: must be a str as WeChat gave it")
    return Secret(value)


def is_like_an_appsecret(token: Secret) -> bool:
    """Whether a token has the form of an appsecret, which beginners pass in its place."""
    return _APPSECRET.fullmatch(token.reveal()) is not None


def check_appid(name: str, value: object) -> str:
    """Return an appid; refuse a value that cannot be one. It is not shown: it may be a secret."""
    value = to_plain(value)
    if not isinstance(value, str):
        problem = f"is of type {type(value).__name__}, not str"
    elif not _APPID.fullmatch(value):
        problem = find_secret_problem(value) or (
            "contains a character that appids do not have, or is too long"
        )
    elif not value.startswith("wx"):
        problem = "does not begin with wx (are appid and secret swapped?)"
    else:
        return value
    raise ConfigurationError(f"{name} {problem}: must be a str such as wx0123456789abcdef")
