"""What a caller may hand in.

Rule: refused before any I/O, in a sentence that names the argument, its value and what is right.
"""

from __future__ import annotations

import ipaddress
import math
from urllib.parse import urlsplit

from tcb_async._redact import redact
from tcb_async.exceptions import ConfigurationError

__all__ = ["checked_base_url", "checked_count", "checked_env", "checked_seconds"]

_SHOWN = 80


def checked_env(env: object) -> str:
    """Return the environment id if it can be one."""
    if not isinstance(env, str) or not env or env != env.strip() or not env.isprintable():
        raise ConfigurationError(
            f"env={_shown(env)}: must be the id of an environment, such as 'test-777bb9'"
        )
    return env


def checked_count(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """Return a whole number if it is not below `least`, nor above `most`."""
    number = isinstance(value, int) and not isinstance(value, bool)
    if not number or value < least or (most is not None and value > most):  # type: ignore[operator]
        bounds = f", {least} or more" if most is None else f" from {least} to {most}"
        raise ConfigurationError(f"{name}={_shown(value)}: must be a whole number{bounds}")
    return value  # type: ignore[return-value]


def checked_seconds(name: str, value: object) -> float:
    """Return a number of seconds if it is finite and above 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:  # type: ignore[operator]
        raise ConfigurationError(f"{name}={_shown(value)}: must be a number of seconds above 0")
    return float(value)  # type: ignore[arg-type]


def checked_base_url(base_url: object, *, allow_http: bool) -> str:
    """Return the base URL without its last slash if tokens may be sent there."""
    right = "such as 'https://api.weixin.qq.com'"
    if not isinstance(base_url, str):
        raise ConfigurationError(f"base_url={_shown(base_url)}: must be a str, {right}")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if host is None or parts.scheme not in {"http", "https"} or not base_url.isprintable():
        shown = _shown(redact(base_url))  # a token may have been put in its place
        raise ConfigurationError(f"base_url={shown}: must be an http(s) URL, {right}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"base_url of {host}: must hold no user, password, query or fragment, {right}"
        )
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise ConfigurationError(
            f"base_url={_shown(base_url)}: plain http would show the access token to everyone on "
            "the way: use https, or say allow_http=True"
        )
    return base_url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
