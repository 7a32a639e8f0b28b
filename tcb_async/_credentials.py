"""Checks of tokens, appsecrets and appids.

Rule: a value is wrapped before it is checked, and an error describes it without showing it.
"""

from __future__ import annotations

import os
import re

from tcb_async._defaults import APPID_VARIABLE, SECRET_VARIABLE, TOKEN_VARIABLE
from tcb_async._redact import MASK, Hidden, Secret
from tcb_async.exceptions import ConfigurationError

_APPID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_APPSECRET = re.compile("[0-9a-fA-F]{32}")


def why_not_a_secret(hidden: Hidden[object]) -> str | None:
    """Return the reason why a value cannot be a token, secret or ticket; None if it can be one."""
    value = hidden.reveal()
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}, not str"
    if not value:
        return "is empty"
    if MASK in value:
        return "is the mask of a Secret, not its text: pass the result of its reveal()"
    if value.split() != [value]:
        return "contains white space (a line break from a file, perhaps)"
    return None if value.isprintable() else "contains a control character"


def check_secret(name: str, value: Secret) -> Secret:
    """Return a value that can be a secret. It is wrapped before: tracebacks show arguments."""
    if (problem := why_not_a_secret(value)) is not None:
        raise ConfigurationError(f"{name} {problem}: must be a str as WeChat gave it")
    return value


def check_appid(name: str, value: Secret) -> str:
    """Return a value that can be an appid. It is wrapped: it may be a misplaced secret."""
    problem = why_not_a_secret(value)
    if problem is None and not _APPID.fullmatch(value.reveal()):
        problem = "contains a character that appids do not have, or is too long"
    elif problem is None and not value.reveal().startswith("wx"):
        problem = "does not begin with wx (are appid and secret swapped?)"
    if problem is not None:
        raise ConfigurationError(f"{name} {problem}: must be a str such as wx0123456789abcdef")
    return value.reveal()


def is_like_an_appsecret(token: Secret) -> bool:
    """Whether a token has the form of an appsecret."""
    # It is sent all the same: the tokens of a gateway may have this form.
    return _APPSECRET.fullmatch(token.reveal()) is not None


def advise_on_variable(token: Secret) -> str:
    """Return the advice for a refused token of `TOKEN_VARIABLE`; empty if there is none."""
    if is_like_an_appsecret(token):
        return (
            f"{TOKEN_VARIABLE} looks like an appsecret: unset it, and set {APPID_VARIABLE} and "
            f"{SECRET_VARIABLE}"
        )
    if not (os.environ.get(APPID_VARIABLE) and os.environ.get(SECRET_VARIABLE)):
        return ""
    return (
        f"{TOKEN_VARIABLE} takes precedence over {APPID_VARIABLE}: unset it, or set a fresh token"
    )
