"""Access tokens and their lives. Rule: they are kept as digests, never in plain text."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from tcb_async.emulator.errcodes import (
    BAD_CREDENTIAL,
    BAD_TOKEN,
    TOKEN_EXPIRED,
    TOKEN_MISSING,
    Refused,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.define
class _Issued:
    owner: str
    component: bool
    expires_at: float
    platform: str | None
    replaced_at: float = math.inf
    stuck: bool = False


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class AccessTokens:
    """Every access token that was issued.

    Args:
        clock: Seconds since 1970, now.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._issued: dict[bytes, _Issued] = {}
        self.length = 157
        self.issued_to: Counter[str] = Counter()

    def issue(
        self, owner: str, life: float, *, component: bool = False, platform: str | None = None
    ) -> str:
        """Issue a new token.

        Args:
            owner: The appid that it belongs to.
            life: Seconds until it expires.
            component: Whether it is a platform's own, for the platform's endpoints only.
            platform: The platform that calls for its owner, if one does.
        """
        token = secrets.token_urlsafe(self.length)[: self.length]
        self.issued_to[owner] += 1
        expires_at = self._clock() + life
        self._issued[_digest(token)] = _Issued(owner, component, expires_at, platform)
        return token

    def owner(self, token: str | None, *, component: bool = False) -> str:
        """Check a token, and return the appid that it belongs to.

        Raises:
            Refused: 41001 without a token, 40014 for an unknown one, 40001 for one that was
                replaced, revoked or is of the other kind, 42001 for an expired one.
        """
        if not token:
            raise Refused(TOKEN_MISSING)
        if (issued := self._issued.get(_digest(token))) is None:
            raise Refused(BAD_TOKEN)
        now = self._clock()
        if issued.replaced_at <= now or issued.component != component:
            raise Refused(BAD_CREDENTIAL)
        if issued.expires_at <= now:
            raise Refused(TOKEN_EXPIRED)
        return issued.owner

    def issued_for(self, token: str | None) -> str | None:
        """The appid that a token was issued for, alive or not; None for an unknown token."""
        issued = self._issued.get(_digest(token or ""))
        return None if issued is None else issued.owner

    def platform_of(self, token: str) -> str | None:
        """The platform that a token was issued to, to call for its owner; None without one."""
        return self._issued[_digest(token)].platform

    def remaining(self, token: str) -> float:
        """Seconds until a token ends, as the token endpoints see it; 0 if it has ended."""
        issued = self._issued[_digest(token)]
        ends_at = issued.expires_at if issued.stuck else min(issued.expires_at, issued.replaced_at)
        return max(0.0, ends_at - self._clock())

    def replace(self, token: str, grace: float, *, stuck: bool = False) -> None:
        """End a token in ``grace`` seconds, because another has replaced it.

        Args:
            token: The token.
            grace: Seconds that it still lives.
            stuck: Whether the token endpoints do not notice.
        """
        issued = self._issued[_digest(token)]
        issued.replaced_at = min(issued.replaced_at, self._clock() + grace)
        issued.stuck = stuck

    def end(self, token: str, errcode: int) -> None:
        """End a token at once, if it was issued here, so that it is refused from now on.

        Args:
            token: The token.
            errcode: 42001 for a token that expires, anything else for one that is replaced.
        """
        if (issued := self._issued.get(_digest(token))) is None:
            return
        if errcode == TOKEN_EXPIRED:
            issued.expires_at = min(issued.expires_at, self._clock())
        else:
            issued.replaced_at = min(issued.replaced_at, self._clock())

    def expire(self) -> None:
        """Let every token expire now."""
        now = self._clock()
        for issued in self._issued.values():
            issued.expires_at = min(issued.expires_at, now)
