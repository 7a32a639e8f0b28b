"""Argument checks and defaults.

Rule: bad input is refused before any I/O. The error names the argument, its value and an accepted
value. A value that may be a secret is wrapped before it is checked, and is never shown.

The command line reads the defaults for its ``--help``, so this module imports little.
"""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta, timezone
from typing import Any, TypeGuard, TypeVar, cast
from urllib.parse import urlsplit

import attrs

from tcb_async._redact import (
    MASK,
    Hidden,
    Secret,
    hide_all_like_a_token,
    hide_misplaced,
    is_like_a_secret,
    wrap_secrets,
)
from tcb_async.exceptions import ConfigurationError

DEFAULT_BASE_URL = "https://api.weixin.qq.com"
DEFAULT_CONCURRENCY = 8
DEFAULT_TIMEOUT = 30.0
DEFAULT_MAX_REPLY_BYTES = 8 * 2**20
DEFAULT_FIRST_PAGE_SIZE = 100  # of a walk, which continues with as many rows as it gets
DEFAULT_PAGE_SIZE = 20  # of a single page, and after a larger page was refused
DEFAULT_MAX_REPAIRS = 8
DEFAULT_ATTEMPTS = 5
DEFAULT_BACKOFF = 1.0
DEFAULT_BACKOFF_CAP = 20.0
DEFAULT_DEADLINE = 60.0
DEFAULT_WATCH_INTERVAL = 30.0
DEFAULT_WAIT_INTERVAL = 2.0
DEFAULT_WAIT_TIMEOUT = 300.0
CHINA_STANDARD_TIME = timezone(timedelta(hours=8))  # the zone in which WeChat's times are read

# The variables that `TcbClient.from_env` and the command line read.
BASE_URL = "TCB_BASE_URL"
ACCESS_TOKEN = "TCB_ACCESS_TOKEN"  # noqa: S105 - the name of a variable
APPID = "TCB_APPID"
SECRET = "TCB_SECRET"  # noqa: S105 - the name of a variable

_LONGEST_VALUE = 80  # characters of a bad value in a message
# One / and no more at the start, or the rest would name a host; no part is . or ..
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~-]+)+/?", re.ASCII)
_ENDPOINT = re.compile(r"/(?:tcb|componenttcb|cgi-bin)/[a-z_/]+$")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
T = TypeVar("T")


def check_env(env: object) -> str:
    if isinstance(env, str) and is_like_a_secret(env):
        raise ConfigurationError(
            "env looks like a token or an appsecret, which is not shown: must be the id of an "
            "environment, such as 'test-777bb9'",
            argument="env",
        )
    if isinstance(env, str) and env and env == env.strip() and env.isprintable():
        return env
    around = isinstance(env, str) and env.strip() not in ("", env)
    more = "; it has white space around it" if around else ""
    raise make_argument_error(
        "env", env, f"must be the id of an environment, such as 'test-777bb9'{more}"
    )


def check_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise make_argument_error(name, value, "must be a str, and not empty")
    return value


def check_file(name: str, value: str | os.PathLike[str]) -> str:
    """Return the path of a file as text."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise make_argument_error(name, value, "must be the path of a file, as a str or a Path")
    return os.fspath(value)


def check_count(name: str, value: object, *, minimum: int, maximum: int | None = None) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if minimum <= value <= (sys.maxsize if maximum is None else maximum):
            return value
        if value > sys.maxsize:
            maximum = maximum or sys.maxsize
    bounds = f", {minimum} or more" if maximum is None else f" from {minimum} to {maximum}"
    raise make_argument_error(name, value, f"must be a whole number{bounds}")


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_seconds(name: str, value: object) -> float:
    if is_number(value) and 0 < value <= sys.float_info.max:
        return float(value)
    raise make_argument_error(name, value, "must be a number of seconds above 0")


def check_instance(name: str, value: object, kind: type, example: str) -> None:
    """Refuse a value of a different type without showing it: a secret may be in the wrong place."""
    if not isinstance(value, kind):
        right = f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}, {example}"
        raise ConfigurationError(f"{name} is of type {type(value).__name__}: must be {right}")


def check_methods(name: str, value: object, *methods: str) -> None:
    if isinstance(value, type) or not all(callable(getattr(value, each, None)) for each in methods):
        right = f"must be an object with the methods {' and '.join(methods)}"
        raise make_argument_error(name, value, right)


def make_validator(
    allowed: Callable[[object], bool], right: str
) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """Make a validator for a field of an attrs class."""

    def check(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if not allowed(value):
            name = f"{type(instance).__name__}({field.name}"
            raise ConfigurationError(f"{name}={_show(value)}): must be {right}")

    return check


def check_names(name: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of functions, given as one name or as a list or tuple of names."""
    names = tuple(name) if isinstance(name, list | tuple) else (name,)
    if names and all(isinstance(name, str) and name and name == name.strip() for name in names):
        return names
    right = "must be the name of a function, such as 'login', or a list of names"
    raise make_argument_error("name", name, right)


def check_callback(name: str, value: object) -> None:
    if not callable(value) or inspect.iscoroutinefunction(value):
        raise make_argument_error(name, value, "must be a function that is not async")


def check_items(name: str, value: Iterable[T], kind: type[T]) -> tuple[T, ...]:
    if isinstance(value, Iterable) and not isinstance(value, str):
        items = tuple(value)
        if all(isinstance(item, kind) for item in items):
            return items
    raise make_argument_error(name, value, f"must be a list of {kind.__name__}s")


def check_path(path: Hidden[object]) -> str:
    """Return the path of an endpoint. It is wrapped: a token may have been put into it."""
    value = path.reveal()
    shown = value
    right = "must be a path such as '/tcb/listfunctions', without host and fragment"
    if isinstance(value, str):
        endpoint, question_mark, _ = value.partition("?")
        advice = "pass the query as query={'env': env}; the token is added"
        if not _PATH.fullmatch(endpoint):
            shown = _hide_credentials(value)
            right += f"; {advice}" if question_mark else ""
        elif question_mark:
            shown = f"{endpoint}?…"
            right = advice
        else:
            return value
    raise make_argument_error("path", shown, right)


def check_fields(name: str, fields: Hidden[object]) -> Hidden[dict[str, Any]]:
    """Return the fields of a request's body or query; {} for None."""
    value = fields.reveal()
    if value is None:
        return Hidden({})
    if isinstance(value, Mapping):
        mapping = cast("Mapping[object, Any]", value)
        if all(isinstance(key, str) for key in mapping):
            return Hidden(wrap_secrets(cast("Mapping[str, Any]", mapping)))
    kind = type(fields.reveal()).__name__
    raise ConfigurationError(
        f"{name} is of type {kind}: must be a mapping with str keys, such as {{'env': env}}",
        argument=name,
    )


def check_query(query: Hidden[object]) -> Hidden[dict[str, str | Secret]]:
    """Return the arguments of a request's query, without the token; {} for None."""
    arguments = check_fields("query", query)
    for name, value in arguments.reveal().items():
        problem = ""
        if name.lower().endswith("access_token"):
            problem = f"contains {name}: leave it out, the token is added"
        elif not isinstance(value, str | Secret):
            problem = f"contains {name!r} of type {type(value).__name__}: must be a str"
        elif _SURROGATE.search(name + Secret(value).reveal()):
            problem = f"contains {name!r} that cannot be encoded as UTF-8: must be text"
        if problem:
            raise ConfigurationError(f"query {problem}", argument="query")
    return arguments


def check_base_url(
    base_url: object,
    *,
    allow_http: bool,
    name: str = "base_url",
    permission: str = "allow_http=True",
) -> str:
    """Return the base URL without its last slash if tokens may be sent there."""
    from yarl import URL  # noqa: PLC0415 - slow to import, and --help checks no URL

    example = f"such as {DEFAULT_BASE_URL!r}"
    if not isinstance(base_url, str):
        raise ConfigurationError(f"{name}={_show(base_url)}: must be a str, {example}")
    try:
        parts = urlsplit(base_url)
        # yarl also checks the port and international names.
        host = parts.hostname if URL(base_url).host else None
    except ValueError:
        parts = urlsplit("")
        host = None
    has_spaces = not base_url.isprintable() or " " in base_url
    if host is None or has_spaces or parts.scheme not in {"http", "https"}:
        shown = _show(_hide_credentials(base_url))
        raise ConfigurationError(f"{name}={shown}: must be an http(s) URL, {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{name} of {host}: must contain no user, password, query or fragment, {example}"
        )
    if endpoint := _ENDPOINT.search(parts.path):
        raise ConfigurationError(f"{name} of {host}: must end before {endpoint[0]!r}, {example}")
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise ConfigurationError(
            f"{name}={_show(base_url)}: plain http would show the access token to everyone on "
            f"the network: use https, or pass {permission}"
        )
    return base_url.rstrip("/")


def _hide_credentials(address: str) -> str:
    """Hide a token in place of an address, and all before an @, also if there is no scheme."""
    _, at, host = address.rpartition("@")
    return (MASK + at if at else "") + hide_all_like_a_token(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_argument_error(name: str, value: object, right: str) -> ConfigurationError:
    return ConfigurationError(f"{name}={_show(value)}: {right}", argument=name)


def _show(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the caller's own code, or a number of 5,000 digits
        text = f"<{type(value).__name__}>"
    text = hide_misplaced(text)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


_APPID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_APPSECRET = re.compile("[0-9a-fA-F]{32}")
AsyncCallable = TypeVar("AsyncCallable", bound="Callable[..., Awaitable[object]]")


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
    """Return the advice for a refused `ACCESS_TOKEN`: an appsecret, or one that hides an app."""
    if is_like_an_appsecret(token):
        return f"{ACCESS_TOKEN} looks like an appsecret: unset it, and set {APPID} and {SECRET}"
    if not (os.environ.get(APPID) and os.environ.get(SECRET)):
        return ""
    return f"{ACCESS_TOKEN} takes precedence over {APPID}: unset it, or set a fresh token"


def check_async(name: str, value: AsyncCallable, *arguments: str) -> AsyncCallable:
    """Refuse a callable that is visibly not async, or cannot be called with these arguments."""
    function: object = value
    if not callable(function):
        kind = type(value).__name__
        raise ConfigurationError(f"{name} is of type {kind}: must be an async callable")
    if not inspect.isroutine(function):
        return value
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise ConfigurationError(f"{name} is not async: write it with async def")
    with suppress(TypeError):
        inspect.signature(function, follow_wrapped=False).bind(*arguments)
        return value
    raise ConfigurationError(f"{name} must be callable with ({', '.join(arguments)})")
