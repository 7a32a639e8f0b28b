"""Apps and their two token endpoints.

Rule: a dead token is issued only where a test asked for that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tcb_async.emulator import errcodes
from tcb_async.emulator.calls import encode_reply, text_in
from tcb_async.emulator.credentials import App
from tcb_async.emulator.errcodes import Refused
from tcb_async.emulator.quotas import Quotas
from tcb_async.emulator.server import EmulatorServer
from tcb_async.emulator.tokens import AccessTokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tcb_async.emulator.calls import Call
    from tcb_async.emulator.clock import EmulatorClock

_OWN_APPID = "wx0000000000000000"
OVERLAP = 300.0
"""Seconds that a token still lives after another has replaced it."""

_TOKEN_REFUSED = {errcodes.BAD_CREDENTIAL, errcodes.BAD_TOKEN, errcodes.TOKEN_EXPIRED}


class EmulatorAccounts(EmulatorServer):
    """What ``Emulator`` knows of apps, tokens and quotas.

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
        self._secrets: dict[str, App] = {}
        self._without_cloud: set[str] = set()
        self._token = self.issue_token()
        self._endpoints["/cgi-bin/stable_token"] = self._stable_token
        self._endpoints["/cgi-bin/token"] = self._classic_token

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
            self._apps[appid] = self._secrets[appid] = App(secret)

    def freeze_secret(self, appid: str, *, frozen: bool = True) -> None:
        """Refuse an app's or a platform's secret with 40243, or accept it again."""
        with self._lock:
            self._secrets[appid].frozen = frozen

    def set_cloud_development(self, appid: str, *, enabled: bool) -> None:
        """Let an account have cloud development (云开发), or be answered 85088.

        Args:
            appid: An app, a merchant or a platform. Each has it unless told otherwise.
            enabled: Whether it has.
        """
        with self._lock:
            if enabled:
                self._without_cloud.discard(appid)
            else:
                self._without_cloud.add(appid)

    def _note_scripted(self, call: Call, errcode: int) -> None:
        if errcode in _TOKEN_REFUSED and call.token is not None:
            self._tokens.end(call.token, errcode)

    def _account_of(self, call: Call) -> str | None:
        fields = {**call.query, **(call.body or {})}
        for key in ("authorizer_appid", "component_appid", "appid"):
            if isinstance(appid := fields.get(key), str):
                return appid
        return self._tokens.issued_for(call.token)

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
        if forced or app.stable is None or self._tokens.remaining(app.stable) <= OVERLAP:
            app.stable = self._tokens.issue(appid, self.token_life)
        left = int(self._tokens.remaining(app.stable))
        return encode_reply(access_token=app.stable, expires_in=left)

    def _classic_token(self, call: Call) -> bytes:
        if call.method != "GET":
            raise Refused(errcodes.NEEDS_GET)
        appid, app = self._authenticated(call.query, call.ip)
        self._spend("/cgi-bin/token", appid)
        self._replace(app.classic, grace=OVERLAP)
        app.classic = self._tokens.issue(appid, self.token_life)
        return encode_reply(access_token=app.classic, expires_in=int(self.token_life))

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

    def _check_cloud_development(self, appid: str) -> None:
        if appid in self._without_cloud:
            raise Refused(errcodes.NO_CLOUD_DEVELOPMENT)

    def _spend(self, path: str, appid: str) -> None:
        self._quotas.spend(
            path, appid, daily=self.daily_quota.get(path), minute=self.minute_quota.get(path)
        )

    def _listed(self, ip: str) -> bool:
        return self.whitelist is None or ip in self.whitelist

    def _replace(self, token: str | None, *, grace: float) -> None:
        if token is not None:
            self._tokens.replace(token, grace)
