"""A request to an endpoint, and its target.

Rule: query and body are never shown, and no I/O happens here.
"""

from __future__ import annotations

from typing import Literal

import attrs
from yarl import URL

from tcb_async._redact import Hidden, Secret
from tcb_async.observer import WalkStats


@attrs.frozen
class Target:
    """The destination of a request.

    `path` may be shown, `bare_url` has no query, and `url` may contain a secret. Every text about
    the request hides its `secrets`, and calls the base URL by the name of its setting.
    """

    path: str
    bare_url: URL
    url: Hidden[URL]
    secrets: tuple[Secret, ...]
    base_url_setting: str = "the base URL"


@attrs.frozen
class ApiRequest:
    """One request, with all its retries."""

    target: Target
    body: Hidden[bytes] | None
    env: str | None = None
    offset: int | None = None
    stats: WalkStats | None = None
    repeatable: bool = True
    """Whether it may be sent again although the server may have carried it out."""

    @property
    def method(self) -> Literal["GET", "POST"]:
        return "GET" if self.body is None else "POST"

    def __str__(self) -> str:
        return f"{self.method} {self.target.path} env={self.env} offset={self.offset}"
