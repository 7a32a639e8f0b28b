"""Replies of the endpoints that return tokens.

Rule: no error keeps a frame that holds the reply, which has the token in the clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from tcb_async._redact import Hidden, Secret, forgetting_frames
from tcb_async.exceptions import ResponseError
from tcb_async.tokens.arguments import fault_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LONGEST_LIFE", "Grant", "read_grant"]

LONGEST_LIFE = 30 * 86_400.0


@attrs.frozen
class Grant:
    """A token from WeChat.

    Attributes:
        endpoint: Which path it came from.
        token: The token.
        expires_in: Seconds it lives from when it was asked for.
        refresh_token: What to ask for the next one with, where there is such a thing.
    """

    endpoint: str
    token: Secret
    expires_in: float
    refresh_token: Secret | None = None


def read_grant(reply: Mapping[str, object], endpoint: str, *, prefix: str = "") -> Grant:
    """Read a token reply.

    Args:
        reply: The JSON object.
        endpoint: The path that answered.
        prefix: What comes before ``access_token`` and ``refresh_token``, such as ``component_``.

    Raises:
        ResponseError: There is no usable token in it, or no sensible ``expires_in``.
    """
    with forgetting_frames():  # this one holds the reply
        token, expires_in = Hidden(reply.get(f"{prefix}access_token")), reply.get("expires_in")
        if (fault := fault_of(token)) is not None:
            raise _unusable(endpoint, f"its {prefix}access_token {fault}")
        if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
            raise _unusable(endpoint, "its expires_in is missing, or is no number of seconds")
        if not expires_in <= LONGEST_LIFE:
            raise _unusable(endpoint, "its expires_in makes no sense: it is more than 30 days")
        refresh = Hidden(reply.get(f"{prefix}refresh_token"))
        return Grant(
            endpoint,
            Secret(str(token.reveal())),
            float(expires_in),
            None if fault_of(refresh) else Secret(str(refresh.reveal())),
        )


def _unusable(endpoint: str, why: str) -> ResponseError:
    return ResponseError(
        f"{endpoint} should answer with a token and its expires_in, but {why}; check base_url and "
        "any proxy between",
        endpoint=endpoint,
        status=200,
    )
