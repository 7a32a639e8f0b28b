"""Checks of addresses: the base URL of a client, and the path and query of a call.

Rule: a token is sent in the clear only to loopback or with permission, and never to a host inside a
path. A part of an address that may contain credentials is not shown.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from tcb_async._arguments import check_fields, make_argument_error, show_value
from tcb_async._defaults import DEFAULT_BASE_URL
from tcb_async._redact import Secret, to_plain
from tcb_async.exceptions import ConfigurationError

# It begins with a single /: after two, the rest would name a host. No part of it is "." or "..".
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~-]+)+/?", re.ASCII)
_NO_PATH = re.compile(r"[^\w/.~-].*", re.ASCII | re.DOTALL)
_ENDPOINT = re.compile(r"/(?:tcb|componenttcb|cgi-bin)/[a-z_/]+$")


def check_path(path: object) -> str:
    """Return the path of an endpoint; refuse a query, a host, a fragment, "." and ".." in it."""
    path = to_plain(path)
    if isinstance(path, str) and _PATH.fullmatch(path):
        return path
    expected = "must be a path such as '/tcb/listfunctions', without host and fragment"
    shown = path
    if isinstance(path, str):
        if "?" in path:
            expected = "pass the query as query={'env': env}; the token is added"
        # The text after the path may contain a token or a password.
        shown = _NO_PATH.sub("…", path)
    raise make_argument_error("path", shown, expected)


def check_query(query: object) -> Mapping[str, str | Secret]:
    """Return a copy of the arguments of a request's query, all of them texts; {} for None."""
    arguments = dict(check_fields("query", query))  # the caller may change them before the request
    for name, value in arguments.items():
        shown = show_value(name)
        if not isinstance(value, str | Secret):
            raise ConfigurationError(
                f"contains {shown} of type {type(value).__name__}: must be a str", argument="query"
            )
        text = name + Secret(value).reveal()
        # Not with `try`: the exception would contain the text.
        if text.encode(errors="ignore").decode() != text:
            raise ConfigurationError(
                f"contains {shown} with a text that cannot be encoded as UTF-8: replace its "
                "surrogates",
                argument="query",
            )
    return arguments


def check_has_no_token(query: Mapping[str, object]) -> None:
    """Refuse a query with an access token: the client adds its own."""
    for name in query:
        if name.lower().endswith("access_token"):
            raise ConfigurationError(
                f"contains {name}: leave it out, the token is added", argument="query"
            )


def check_base_url(
    base_url: object,
    *,
    allow_http: bool,
    name: str = "base_url",
    permission: str = "allow_http=True",
) -> str:
    """Return the base URL without slashes at its end; refuse it if no token may be sent there.

    ``name`` and ``permission`` are the user's words for the base URL and for ``allow_http``.
    """
    from yarl import URL  # noqa: PLC0415 - slow to import, and --help checks no URL

    example = f"such as {DEFAULT_BASE_URL!r}"
    base_url = to_plain(base_url)
    if not isinstance(base_url, str):
        raise ConfigurationError(f"{name}={show_value(base_url)}: must be a str, {example}")
    try:
        url = URL(base_url)
        host = url.host  # raises for an invalid international name
    except ValueError:
        url = URL()
        host = None
    is_one_word = base_url.isprintable() and " " not in base_url
    if url.scheme not in {"http", "https"} or not host or not is_one_word:
        raise ConfigurationError(f"{name} is not an http(s) URL: must be one, {example}")
    if url.user or url.password or "?" in base_url or "#" in base_url:
        raise ConfigurationError(
            f"{name} of {host}: must contain no user, password, query or fragment, {example}"
        )
    if endpoint := _ENDPOINT.search(url.path):
        raise ConfigurationError(f"{name} of {host}: must end before {endpoint[0]!r}, {example}")
    if url.scheme == "http" and not allow_http and not _is_loopback(host):
        raise ConfigurationError(
            f"{name} of {host}: plain http would show the access token to everyone on the "
            f"network: use https, or pass {permission}"
        )
    return base_url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
