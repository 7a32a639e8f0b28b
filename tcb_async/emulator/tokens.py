"""Quotas of calls. Rule: counted by path and account, per day and minute of China's time.

----

Access tokens and their lives. Rule: they are kept as digests, never in plain text.

----

Accounts and their credentials. Rule: secrets are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from tcb_async.emulator.wire import (
    BAD_CREDENTIAL,
    BAD_REFRESH_TOKEN,
    BAD_SECRET,
    BAD_TICKET,
    BAD_TOKEN,
    DAILY_QUOTA,
    MINUTE_QUOTA,
    NOT_AUTHORIZED,
    SECRET_FROZEN,
    TICKET_EXPIRED,
    TOKEN_EXPIRED,
    TOKEN_MISSING,
    Refused,
)

if TYPE_CHECKING:
    from collections.abc import Callable


_CHINA_OFFSET = 8 * 3600
_DAY = 86_400
_MINUTE = 60
_FORCED_A_DAY = 20
_FORCED_APART = 30


class Quotas:
    """Calls made.

    Args:
        clock: Seconds since 1970, now.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._forced_at: dict[str, float] = {}

    def spend(self, path: str, appid: str, *, daily: int | None, minute: int | None) -> None:
        """Count one call.

        Args:
            path: The endpoint.
            appid: The account that calls it.
            daily: The most calls a day; None for no limit, and then they are not counted.
            minute: Likewise, a minute.

        Raises:
            Refused: 45009 or 45011 if it exceeds a quota.
        """
        if self._spent(path, appid, _DAY, daily):
            raise Refused(DAILY_QUOTA)
        if self._spent(path, appid, _MINUTE, minute):
            raise Refused(MINUTE_QUOTA)

    def spend_forced(self, appid: str) -> None:
        """Count one forced refresh of a stable token. 20 a day are allowed, 30 seconds apart.

        Raises:
            Refused: 45011 if it comes too soon, 45009 if it exceeds the day's quota.
        """
        now = self._clock()
        if now - self._forced_at.get(appid, 0.0) < _FORCED_APART:
            raise Refused(MINUTE_QUOTA)
        if self._spent("force_refresh", appid, _DAY, _FORCED_A_DAY):
            raise Refused(DAILY_QUOTA)
        self._forced_at[appid] = now

    def _spent(self, path: str, appid: str, period: int, allowed: int | None) -> bool:
        if allowed is None:
            return False
        current = int(self._clock() + _CHINA_OFFSET) // period
        counted_in, made = self._made.get((path, appid, period), (current, 0))
        if counted_in != current:
            made = 0
        self._made[path, appid, period] = (current, made + 1)
        return made >= allowed


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


CLOUD_DEVELOPMENT = 49
"""The permission set of cloud development (云开发)."""

_TICKET_LIFE = 12 * 3600.0


def same(given: str, known: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), known.encode("utf-8", "surrogatepass")
    )


def new_secret(prefix: str) -> str:
    """Make a random secret that looks like WeChat's."""
    return f"{prefix}{secrets.token_urlsafe(32)}"


@attrs.define
class App:
    """A mini program or official account that calls in its own name.

    Attributes:
        secret: Its appsecret.
        frozen: Whether the secret is frozen, so that it is refused.
        stable: The current token of ``stable_token``.
        classic: The last token of ``token``.
    """

    secret: str = attrs.field(repr=False)
    frozen: bool = False
    stable: str | None = attrs.field(default=None, repr=False)
    classic: str | None = attrs.field(default=None, repr=False)

    def authenticate(self, secret: str) -> None:
        """Check the secret.

        Raises:
            Refused: 40243 if the secret is frozen, 40125 if it is wrong.
        """
        if self.frozen:
            raise Refused(SECRET_FROZEN)
        if not same(secret, self.secret):
            raise Refused(BAD_SECRET)


@attrs.define
class Authorizer:
    """A merchant that authorised a platform.

    Attributes:
        refresh_token: The one that is accepted now.
        auth_time: When it authorised the platform, in seconds since 1970.
        exchanged: Whether its authorisation code was exchanged. If not, the list of merchants
            shows no refresh token.
        permission_sets: The ids of the permission sets (权限集) that it granted.
        rotating: Whether the next call returns a new refresh token.
        token: The access token that was issued last.
    """

    refresh_token: str = attrs.field(repr=False)
    auth_time: int
    exchanged: bool = True
    permission_sets: frozenset[int] = frozenset({CLOUD_DEVELOPMENT})
    rotating: bool = False
    token: str | None = attrs.field(default=None, repr=False)

    def authenticate(self, refresh_token: object) -> None:
        """Check the refresh token, and rotate it if that is due.

        Raises:
            Refused: 61023 if it is wrong.
        """
        if not isinstance(refresh_token, str) or not same(refresh_token, self.refresh_token):
            raise Refused(BAD_REFRESH_TOKEN)
        if self.rotating:
            self.refresh_token = new_secret("refreshtoken@@@")
            self.rotating = False


@attrs.define
class Component:
    """A third-party platform.

    Attributes:
        app: Its secret.
        tickets: When each ticket was pushed, by ticket.
        token: The component token that was issued last.
        authorizers: The merchants by appid, in the order in which they authorised it.
    """

    app: App
    tickets: dict[str, float] = attrs.field(factory=dict[str, float], repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    authorizers: dict[str, Authorizer] = attrs.field(factory=dict[str, Authorizer])

    def accept_ticket(self, ticket: object, now: float) -> None:
        """Check a ticket.

        Raises:
            Refused: 61006 if it was never pushed, 61005 if it is older than 12 hours.
        """
        pushed_at = -math.inf
        for known, when in self.tickets.items():
            if isinstance(ticket, str) and same(ticket, known):
                pushed_at = when
        if pushed_at == -math.inf:
            raise Refused(BAD_TICKET)
        if now - pushed_at >= _TICKET_LIFE:
            raise Refused(TICKET_EXPIRED)

    def authorizer(self, appid: str) -> Authorizer:
        """The merchant of this appid.

        Raises:
            Refused: 61003 if it has not authorised the platform.
        """
        if (authorizer := self.authorizers.get(appid)) is None:
            raise Refused(NOT_AUTHORIZED)
        return authorizer
