"""The four token endpoints. Rule: a dead token is issued only where a test asked for that."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from tcb_async.emulator import errcodes
from tcb_async.emulator.calls import text_in
from tcb_async.emulator.credentials import App, Authorizer, Component, new_secret
from tcb_async.emulator.errcodes import Refused
from tcb_async.emulator.quotas import Quotas
from tcb_async.emulator.server import EmulatorServer
from tcb_async.emulator.tokens import AccessTokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tcb_async.emulator.calls import Call
    from tcb_async.emulator.clock import EmulatorClock

_OWN_APPID = "wx0000000000000000"
_OVERLAP = 300.0
_TOKEN_REFUSED = {errcodes.BAD_CREDENTIAL, errcodes.BAD_TOKEN, errcodes.TOKEN_EXPIRED}


def _issued(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


class EmulatorAccounts(EmulatorServer):
    """What ``Emulator`` knows of apps, platforms, merchants and their tokens.

    Attributes:
        token_life: Seconds that a new token lives.
        whitelist: The IP addresses that may request tokens; None for all.
        daily_quota: Calls a day that one account may make, by path, such as
            ``{"/tcb/listfunctions": 100}``; further ones are answered 45009. Calls are counted
            from the moment it is set.
        minute_quota: Likewise, a minute; further ones are answered 45011.
    """

    def __init__(
        self, *, host: str, port: int, clock: EmulatorClock, keep_requests: int, seed: int
    ) -> None:
        super().__init__(host=host, port=port, clock=clock, keep_requests=keep_requests, seed=seed)
        self.token_life = 7200.0
        self.whitelist: set[str] | None = None
        self.daily_quota = {"/cgi-bin/stable_token": 500_000}
        self.minute_quota = {"/cgi-bin/stable_token": 10_000}
        self._quotas = Quotas(clock)
        self._tokens = AccessTokens(clock)
        self._apps: dict[str, App] = {}
        self._components: dict[str, Component] = {}
        self._token = self.issue_token()
        self._endpoints["/cgi-bin/stable_token"] = self._stable_token
        self._endpoints["/cgi-bin/token"] = self._classic_token
        self._endpoints["/cgi-bin/component/api_component_token"] = self._component_token
        self._endpoints["/cgi-bin/component/api_authorizer_token"] = self._authorizer_token

    @property
    def token(self) -> str:
        """An access token that is accepted now: a new one if the last one has ended."""
        with self._lock:
            try:
                self._tokens.owner(self._token)
            except Refused:
                self._token = self.issue_token()
            return self._token

    @property
    def token_length(self) -> int:
        """The number of characters in new access tokens. WeChat allows up to 512."""
        return self._tokens.length

    @token_length.setter
    def token_length(self, characters: int) -> None:
        self._tokens.length = characters

    def issue_token(self, *, life: float = math.inf) -> str:
        """Issue another access token for the same account as ``token``.

        Args:
            life: Seconds until it expires.
        """
        with self._lock:
            return self._tokens.issue(_OWN_APPID, life)

    def expire_tokens(self) -> None:
        """Let every access token expire now (42001)."""
        with self._lock:
            self._tokens.expire()

    def revoke(self, token: str, *, stuck: bool = False) -> None:
        """Refuse a token from now on (40001), as WeChat does when another has replaced it.

        Args:
            token: An access token of this emulator.
            stuck: Whether ``stable_token`` keeps returning it all the same, as WeChat's has been
                seen to do.

        Raises:
            KeyError: This emulator never issued the token.
        """
        with self._lock:
            self._tokens.replace(token, grace=0.0, stuck=stuck)

    def tokens_issued(self, appid: str) -> int:
        """The number of access tokens issued so far for an app, platform or merchant."""
        with self._lock:
            return self._tokens.issued_to[appid]

    def add_app(self, appid: str, secret: str) -> None:
        """Add a mini program or official account that requests tokens of its own."""
        with self._lock:
            self._apps[appid] = App(secret)

    def freeze_secret(self, appid: str, *, frozen: bool = True) -> None:
        """Refuse an app's or a platform's secret with 40243, or accept it again."""
        with self._lock:
            app = self._apps[appid] if appid in self._apps else self._components[appid].app
            app.frozen = frozen

    def add_component(self, appid: str, secret: str, ticket: str | None = None) -> str:
        """Add a third-party platform, and push it a first ticket.

        Args:
            appid: Its ``component_appid``.
            secret: Its appsecret.
            ticket: The ticket; None for a random one.

        Returns:
            The ticket.
        """
        with self._lock:
            self._components[appid] = Component(App(secret))
            return self.push_ticket(appid, ticket)

    def push_ticket(self, component_appid: str, ticket: str | None = None) -> str:
        """Push a ``component_verify_ticket``, which lives 12 hours.

        Args:
            component_appid: The platform.
            ticket: The ticket; None for a random one.

        Returns:
            The ticket.
        """
        ticket = ticket or new_secret("ticket@@@")
        with self._lock:
            self._components[component_appid].tickets[ticket] = self.clock()
        return ticket

    def add_authorizer(
        self, component_appid: str, authorizer_appid: str, refresh_token: str | None = None
    ) -> str:
        """Let a merchant authorise a platform.

        Returns:
            The merchant's refresh token, which is ``refresh_token`` if that was given.
        """
        refresh_token = refresh_token or new_secret("refreshtoken@@@")
        with self._lock:
            authorizers = self._components[component_appid].authorizers
            authorizers[authorizer_appid] = Authorizer(refresh_token)
        return refresh_token

    def rotate_refresh_token(self, component_appid: str, authorizer_appid: str) -> None:
        """Let the merchant's next token come with a new refresh token, which ends the old one."""
        with self._lock:
            self._components[component_appid].authorizers[authorizer_appid].rotating = True

    def refresh_token(self, component_appid: str, authorizer_appid: str) -> str:
        """The merchant's refresh token that is accepted now."""
        with self._lock:
            return self._components[component_appid].authorizers[authorizer_appid].refresh_token

    def _note_scripted(self, call: Call, errcode: int) -> None:
        if errcode in _TOKEN_REFUSED and call.token is not None:
            self._tokens.end(call.token, errcode)

    def _stable_token(self, call: Call) -> bytes:
        body = call.posted()
        forced = body.get("force_refresh") or False
        if not isinstance(forced, bool):
            raise Refused(errcodes.BROKEN_BODY)
        appid, app = self._authenticated(body, call.ip)
        self._spend("/cgi-bin/stable_token", appid)
        if forced:
            self._quotas.spend_forced(appid)
            self._replace(app.stable, grace=0.0)
        if forced or app.stable is None or self._tokens.remaining(app.stable) <= _OVERLAP:
            app.stable = self._tokens.issue(appid, self.token_life)
        left = int(self._tokens.remaining(app.stable))
        return _issued(access_token=app.stable, expires_in=left)

    def _classic_token(self, call: Call) -> bytes:
        if call.method != "GET":
            raise Refused(errcodes.NEEDS_GET)
        appid, app = self._authenticated(call.query, call.ip)
        self._spend("/cgi-bin/token", appid)
        self._replace(app.classic, grace=_OVERLAP)
        app.classic = self._tokens.issue(appid, self.token_life)
        return _issued(access_token=app.classic, expires_in=int(self.token_life))

    def _authenticated(self, fields: Mapping[str, object], ip: str) -> tuple[str, App]:
        if fields.get("grant_type") != "client_credential":
            raise Refused(errcodes.BAD_GRANT_TYPE)
        appid = text_in(fields, "appid", errcodes.APPID_MISSING)
        secret = text_in(fields, "secret", errcodes.SECRET_MISSING)
        if (app := self._apps.get(appid)) is None:
            raise Refused(errcodes.BAD_APPID)
        app.authenticate(secret)
        if not self._listed(ip):
            errmsg = f"invalid ip {ip} ipv6 ::ffff:{ip}, not in whitelist"
            raise Refused(errcodes.IP_NOT_LISTED, errmsg)
        return appid, app

    def _component_token(self, call: Call) -> bytes:
        body = call.posted()
        appid = text_in(body, "component_appid", errcodes.COMPONENT_APPID_MISSING)
        secret = text_in(body, "component_appsecret", errcodes.SECRET_MISSING)
        component = self._component(appid, call.ip)
        component.app.authenticate(secret)
        component.accept_ticket(body.get("component_verify_ticket"), self.clock())
        self._spend("/cgi-bin/component/api_component_token", appid)
        self._replace(component.token, grace=_OVERLAP)
        component.token = self._tokens.issue(appid, self.token_life, component=True)
        return _issued(component_access_token=component.token, expires_in=int(self.token_life))

    def _authorizer_token(self, call: Call) -> bytes:
        body = call.posted()
        owner = self._tokens.owner(call.query.get("component_access_token"), component=True)
        component_appid = text_in(body, "component_appid", errcodes.COMPONENT_APPID_MISSING)
        appid = text_in(body, "authorizer_appid", errcodes.APPID_MISSING)
        if component_appid != owner:
            raise Refused(errcodes.BAD_APPID)
        authorizer = self._component(owner, call.ip).authorizer(appid)
        authorizer.authenticate(body.get("authorizer_refresh_token"))
        self._spend("/cgi-bin/component/api_authorizer_token", appid)
        self._replace(authorizer.token, grace=_OVERLAP)
        authorizer.token = self._tokens.issue(appid, self.token_life)
        return _issued(
            authorizer_access_token=authorizer.token,
            expires_in=int(self.token_life),
            authorizer_refresh_token=authorizer.refresh_token,
        )

    def _component(self, appid: str, ip: str) -> Component:
        if (component := self._components.get(appid)) is None:
            raise Refused(errcodes.BAD_APPID)
        if not self._listed(ip):
            raise Refused(
                errcodes.COMPONENT_IP_NOT_LISTED,
                f"access clientip is not registered requestIP: {ip}",
            )
        return component

    def _spend(self, path: str, appid: str) -> None:
        self._quotas.spend(
            path, appid, daily=self.daily_quota.get(path), minute=self.minute_quota.get(path)
        )

    def _listed(self, ip: str) -> bool:
        return self.whitelist is None or ip in self.whitelist

    def _replace(self, token: str | None, *, grace: float) -> None:
        if token is not None:
            self._tokens.replace(token, grace)
