"""What is sent: a target that keeps its URL to itself, and a request to it.

Rule: whatever holds a secret is `Hidden`, so that nothing here shows one, however it is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from typing import Literal

    from aiohttp import ClientMiddlewareType
    from yarl import URL

    from tcb_async._redact import Hidden, Secret

__all__ = ["ApiRequest", "RetryCount", "Target"]


class RetryCount(Protocol):
    """Where the tries beyond the first are counted, as they happen."""

    retries: int


@attrs.frozen
class Target:
    """Where a request goes.

    Attributes:
        path: What is shown of it.
        bare_url: The URL without its query.
        url: The URL with its query, which may hold a secret.
        secrets: What is secret in the request, to be hidden in whatever is said about it.
        middlewares: What adds the query to a request of a session that we made.
    """

    path: str
    bare_url: URL
    url: Hidden[URL]
    secrets: tuple[Secret, ...]
    middlewares: tuple[ClientMiddlewareType, ...]


@attrs.frozen
class ApiRequest:
    """One request, as often as it may be tried."""

    target: Target
    body: Hidden[bytes] | None
    env: str | None = None
    offset: int | None = None
    count: RetryCount | None = None

    @property
    def method(self) -> Literal["GET", "POST"]:
        """GET without a body, POST with one."""
        return "GET" if self.body is None else "POST"

    def __str__(self) -> str:
        return f"{self.method} {self.target.path} env={self.env} offset={self.offset}"
