"""Checks of addresses: the base URL of a client, and the path and query of a call.

Rule: a token is never sent in the clear or to a host inside a path, and no credential in an address
is shown.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from tcb_async._arguments import check_fields, make_argument_error, show_value
from tcb_async._defaults import DEFAULT_BASE_URL
from tcb_async._redact import MASK, SURROGATE, Hidden, Secret, hide_all_like_a_token, to_plain
from tcb_async.exceptions import ConfigurationError

# It begins with a single /: after two, the rest would name a host. A part is neither . nor ..
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~-]+)+/?", re.ASCII)
_ENDPOINT = re.compile(r"/(?:tcb|componenttcb|cgi-bin)/[a-z_/]+$")


def check_path(path: Hidden[object]) -> str:
    """Return the path of an endpoint. It is wrapped: a token may have been put into it."""
    value = to_plain(path.reveal())
    shown = value
    expected = "must be a path such as '/tcb/listfunctions', without host and fragment"
    if isinstance(value, str):
        endpoint, question_mark, _ = value.partition("?")
        advice = "pass the query as query={'env': env}; the token is added"
        if not _PATH.fullmatch(endpoint):
            shown = _hide_credentials(value)
            expected += f"; {advice}" if question_mark else ""
        elif question_mark:
            shown = f"{endpoint}?…"
            expected = advice
        else:
            return value
    raise make_argument_error("path", shown, expected)


def check_query(query: Hidden[object]) -> Hidden[dict[str, str | Secret]]:
    """Return the arguments of a request's query, without the token; {} for None."""
    arguments = check_fields("query", query)
    for name, value in arguments.reveal().items():
        problem = ""
        if name.lower().endswith("access_token"):
            problem = f"contains {name}: leave it out, the token is added"
        elif not isinstance(value, str | Secret):
            problem = f"contains {show_value(name)} of type {type(value).__name__}: must be a str"
        elif SURROGATE.search(name + Secret(value).reveal()):
            problem = f"contains {show_value(name)} that cannot be encoded as UTF-8: must be text"
        if problem:
            raise ConfigurationError(f"query {problem}", argument="query")
    return arguments


class VariableUrl(str):
    """A base URL from `BASE_URL_VARIABLE`, which errors name in place of the argument."""

    __slots__ = ()


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
    base_url = to_plain(base_url)
    if not isinstance(base_url, str):
        raise ConfigurationError(f"{name}={show_value(base_url)}: must be a str, {example}")
    try:
        parts = urlsplit(base_url)
        # yarl also checks the port and international names.
        host = parts.hostname if URL(base_url).host else None
    except ValueError:
        parts = urlsplit("")
        host = None
    has_spaces = not base_url.isprintable() or " " in base_url
    if host is None or has_spaces or parts.scheme not in {"http", "https"}:
        shown = show_value(_hide_credentials(base_url))
        raise ConfigurationError(f"{name}={shown}: must be an http(s) URL, {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{name} of {host}: must contain no user, password, query or fragment, {example}"
        )
    if endpoint := _ENDPOINT.search(parts.path):
        raise ConfigurationError(f"{name} of {host}: must end before {endpoint[0]!r}, {example}")
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise ConfigurationError(
            f"{name}={show_value(base_url)}: plain http would show the access token to everyone on "
            f"the network: use https, or pass {permission}"
        )
    return base_url.rstrip("/")


def _hide_credentials(address: str) -> str:
    """Hide all before an @, even without a scheme, and a token in place of an address."""
    _, at, host = address.rpartition("@")
    return (MASK + at if at else "") + hide_all_like_a_token(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
