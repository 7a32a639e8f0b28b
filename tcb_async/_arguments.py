"""What a caller may pass.

Rule: refused before any I/O, in a sentence that names the argument, its value and what is right.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
import sys
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import urlsplit

from yarl import URL

from tcb_async._redact import redact
from tcb_async.exceptions import ConfigurationError

__all__ = [
    "checked_base_url",
    "checked_callback",
    "checked_count",
    "checked_env",
    "checked_instance",
    "checked_items",
    "checked_methods",
    "checked_seconds",
    "checked_text",
]

_SHOWN = 80
T = TypeVar("T")


def checked_env(env: object) -> str:
    """Return the environment id if it can be one."""
    if not isinstance(env, str) or not env or env != env.strip() or not env.isprintable():
        raise ConfigurationError(
            f"env={_shown(env)}: must be the id of an environment, such as 'test-777bb9'"
        )
    return env


def checked_text(name: str, value: object) -> str:
    """Return a text if it is one, and not empty."""
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name}={_shown(value)}: must be a str, and not empty")
    return value


def checked_count(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """Return a whole number if it is not below `least`, nor above `most`."""
    if isinstance(value, int) and not isinstance(value, bool):
        if least <= value <= (sys.maxsize if most is None else most):
            return value
        if value > sys.maxsize:
            most = most or sys.maxsize
    bounds = f", {least} or more" if most is None else f" from {least} to {most}"
    raise ConfigurationError(f"{name}={_shown(value)}: must be a whole number{bounds}")


def checked_seconds(name: str, value: object) -> float:
    """Return a number of seconds if it is finite and above 0."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
        if 0 < seconds < math.inf:
            return seconds
    raise ConfigurationError(f"{name}={_shown(value)}: must be a number of seconds above 0")


def checked_instance(name: str, value: object, kind: type, example: str) -> None:
    """Refuse what is not of a kind."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ConfigurationError(
            f"{name}={_shown(value)}: must be {article} {kind.__name__}, {example}"
        )


def checked_methods(name: str, value: object, *methods: str) -> None:
    """Refuse what does not have these methods, or is a class."""
    if isinstance(value, type) or not all(callable(getattr(value, it, None)) for it in methods):
        raise ConfigurationError(
            f"{name}={_shown(value)}: must be an object with the methods {' and '.join(methods)}"
        )


def checked_callback(name: str, value: object) -> None:
    """Refuse what is not a function, or has to be awaited."""
    if not callable(value) or inspect.iscoroutinefunction(value):
        raise ConfigurationError(f"{name}={_shown(value)}: must be a function that is not async")


def checked_items(name: str, value: Iterable[T], kind: type[T]) -> tuple[T, ...]:
    """Return the items of an iterable if each is of a kind."""
    if isinstance(value, Iterable):
        items = tuple(value)
        if all(isinstance(item, kind) for item in items):
            return items
    raise ConfigurationError(f"{name}={_shown(value)}: must be a list of {kind.__name__}s")


def checked_base_url(base_url: object, *, allow_http: bool, name: str = "base_url") -> str:
    """Return the base URL without its last slash if tokens may be sent there."""
    right = "such as 'https://api.weixin.qq.com'"
    if not isinstance(base_url, str):
        raise ConfigurationError(f"{name}={_shown(base_url)}: must be a str, {right}")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, URL(base_url).host  # it reads port and international names too
    except ValueError:
        parts, host = urlsplit(""), None
    unusable = not base_url.isprintable() or " " in base_url
    if host is None or unusable or parts.scheme not in {"http", "https"}:
        shown = _shown(redact(base_url))  # a token may have been put in its place
        raise ConfigurationError(f"{name}={shown}: must be an http(s) URL, {right}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{name} of {host}: must hold no user, password, query or fragment, {right}"
        )
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise ConfigurationError(
            f"{name}={_shown(base_url)}: plain http would show the access token to everyone on "
            "the way: use https, or pass allow_http=True"
        )
    return base_url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the caller's own code, or a number of 5,000 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
