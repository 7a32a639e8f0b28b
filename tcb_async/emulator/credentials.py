"""Accounts and their credentials. Rule: secrets are compared in constant time."""

from __future__ import annotations

import hmac
import math
import secrets

import attrs

from tcb_async.emulator.errcodes import (
    BAD_REFRESH_TOKEN,
    BAD_SECRET,
    BAD_TICKET,
    NOT_AUTHORIZED,
    SECRET_FROZEN,
    TICKET_EXPIRED,
    Refused,
)

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
