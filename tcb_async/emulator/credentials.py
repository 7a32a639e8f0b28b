"""Who may ask for tokens, and with what. Rule: secrets are compared in constant time."""

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

_TICKET_LIFE = 12 * 3600.0


def same(given: str, known: str) -> bool:
    """Whether two secrets are one, in a time that does not tell how much of it was right."""
    return hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), known.encode("utf-8", "surrogatepass")
    )


def new_secret(prefix: str) -> str:
    """A secret that nobody can guess, in WeChat's manner."""
    return f"{prefix}{secrets.token_urlsafe(32)}"


@attrs.define
class App:
    """A mini program or official account that calls in its own name.

    Attributes:
        secret: Its appsecret.
        frozen: Whether the secret is frozen, so that it is refused.
        stable: The token that ``stable_token`` hands out now.
        classic: The token that ``token`` handed out last.
    """

    secret: str = attrs.field(repr=False)
    frozen: bool = False
    stable: str | None = attrs.field(default=None, repr=False)
    classic: str | None = attrs.field(default=None, repr=False)

    def authenticate(self, secret: str) -> None:
        """Let those pass who know the secret.

        Raises:
            Refused: 40243 if the secret is frozen, 40125 if it is another.
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
        rotating: Whether the next call brings another.
        token: The access token that was handed out last.
    """

    refresh_token: str = attrs.field(repr=False)
    rotating: bool = False
    token: str | None = attrs.field(default=None, repr=False)

    def authenticate(self, refresh_token: object) -> None:
        """Let those pass who hold the refresh token; it rotates if that is due.

        Raises:
            Refused: 61023 if it is another.
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
        token: The component token that was handed out last.
        authorizers: The merchants, by appid.
    """

    app: App
    tickets: dict[str, float] = attrs.field(factory=dict[str, float], repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    authorizers: dict[str, Authorizer] = attrs.field(factory=dict[str, Authorizer])

    def accept_ticket(self, ticket: object, now: float) -> None:
        """Let those pass who hold a ticket of the last 12 hours.

        Raises:
            Refused: 61006 if it was never pushed, 61005 if it is too old.
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
