"""Third-party platforms and their merchants. Rule: a merchant that left is refused everywhere."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tcb_async.emulator import errcodes
from tcb_async.emulator.accounts import OVERLAP, EmulatorAccounts
from tcb_async.emulator.calls import encode_reply, integer_in, text_in
from tcb_async.emulator.credentials import (
    CLOUD_DEVELOPMENT,
    App,
    Authorizer,
    Component,
    new_secret,
)
from tcb_async.emulator.errcodes import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tcb_async.emulator.calls import Call
    from tcb_async.emulator.clock import EmulatorClock
    from tcb_async.emulator.environments import Order

_COMPONENT_TOKEN = "/cgi-bin/component/api_component_token"  # noqa: S105 - a path
_AUTHORIZER_TOKEN = "/cgi-bin/component/api_authorizer_token"  # noqa: S105 - a path
_AUTHORIZER_LIST = "/cgi-bin/component/api_get_authorizer_list"
_MOST_AUTHORIZERS = 500


class EmulatorPlatforms(EmulatorAccounts):
    """What ``Emulator`` knows of platforms and merchants."""

    def __init__(  # noqa: PLR0913 - keyword-only settings
        self,
        *,
        host: str,
        port: int,
        clock: EmulatorClock,
        keep_requests: int,
        seed: int,
        order: Order,
    ) -> None:
        super().__init__(host=host, port=port, clock=clock, keep_requests=keep_requests, seed=seed)
        self._order = order
        self._components: dict[str, Component] = {}
        self._merchant_numbers = itertools.count(1)
        self._endpoints[_COMPONENT_TOKEN] = self._component_token
        self._endpoints[_AUTHORIZER_TOKEN] = self._authorizer_token
        self._endpoints[_AUTHORIZER_LIST] = self._authorizer_list

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
            self._secrets[appid] = App(secret)
            self._components[appid] = Component(self._secrets[appid])
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

    def add_authorizer(  # noqa: PLR0913 - the facts of a merchant
        self,
        component_appid: str,
        authorizer_appid: str,
        refresh_token: str | None = None,
        *,
        auth_time: int | None = None,
        exchanged: bool = True,
        permission_sets: Iterable[int] = (CLOUD_DEVELOPMENT,),
    ) -> str:
        """Let a merchant authorise a platform, or authorise it again.

        Args:
            component_appid: The platform.
            authorizer_appid: The merchant.
            refresh_token: Its refresh token; None for a random one.
            auth_time: When, in seconds since 1970; None for now.
            exchanged: Whether its authorisation code was exchanged. If not, the list of merchants
                shows no refresh token.
            permission_sets: The permission sets (权限集) that it grants. Without 49 (云开发) calls
                for the merchant are answered 61007.

        Returns:
            The merchant's refresh token, which is ``refresh_token`` if that was given.
        """
        refresh_token = refresh_token or new_secret("refreshtoken@@@")
        with self._lock:
            self._components[component_appid].authorizers[authorizer_appid] = Authorizer(
                refresh_token,
                int(self.clock()) if auth_time is None else auth_time,
                exchanged,
                frozenset(permission_sets),
            )
        return refresh_token

    def remove_authorizer(self, component_appid: str, authorizer_appid: str) -> None:
        """Let a merchant take its authorisation back: calls for it are answered 61003.

        Raises:
            KeyError: There is no such platform or merchant.
        """
        with self._lock:
            del self._components[component_appid].authorizers[authorizer_appid]

    def authorizers(self, component_appid: str) -> tuple[str, ...]:
        """The appids of a platform's merchants, in the order of the list."""
        with self._lock:
            return tuple(appid for appid, _ in self._in_order(self._components[component_appid]))

    def rotate_refresh_token(self, component_appid: str, authorizer_appid: str) -> None:
        """Let the merchant's next token come with a new refresh token, which ends the old one."""
        with self._lock:
            self._components[component_appid].authorizers[authorizer_appid].rotating = True

    def refresh_token(self, component_appid: str, authorizer_appid: str) -> str:
        """The merchant's refresh token that is accepted now."""
        with self._lock:
            return self._components[component_appid].authorizers[authorizer_appid].refresh_token

    def _in_order(self, component: Component) -> Iterable[tuple[str, Authorizer]]:
        merchants = component.authorizers.items()
        return reversed(merchants) if self._order == "newest_first" else merchants

    def _component_token(self, call: Call) -> bytes:
        body = call.posted()
        appid = text_in(body, "component_appid", errcodes.COMPONENT_APPID_MISSING)
        secret = text_in(body, "component_appsecret", errcodes.SECRET_MISSING)
        component = self._component(appid, call.ip)
        component.app.authenticate(secret)
        component.accept_ticket(body.get("component_verify_ticket"), self.clock())
        self._spend(_COMPONENT_TOKEN, appid)
        self._replace(component.token, grace=OVERLAP)
        component.token = self._tokens.issue(appid, self.token_life, component=True)
        return encode_reply(component_access_token=component.token, expires_in=int(self.token_life))

    def _authorizer_token(self, call: Call) -> bytes:
        body = call.posted()
        platform, component = self._calling_platform(_AUTHORIZER_TOKEN, call, body)
        appid = text_in(body, "authorizer_appid", errcodes.APPID_MISSING)
        authorizer = component.authorizer(appid)
        authorizer.authenticate(body.get("authorizer_refresh_token"))
        self._replace(authorizer.token, grace=OVERLAP)
        authorizer.token = self._tokens.issue(appid, self.token_life, platform=platform)
        return encode_reply(
            authorizer_access_token=authorizer.token,
            expires_in=int(self.token_life),
            authorizer_refresh_token=authorizer.refresh_token,
        )

    def _authorizer_list(self, call: Call) -> bytes:
        body = call.posted()
        _, component = self._calling_platform(_AUTHORIZER_LIST, call, body)
        offset, count = integer_in(body, "offset"), integer_in(body, "count")
        if offset < 0 or count < 0:
            raise Refused(errcodes.BAD_ARGUMENT)
        if count > _MOST_AUTHORIZERS:
            raise Refused(errcodes.TOO_MANY_ROWS)
        page = itertools.islice(self._in_order(component), offset, offset + count)
        return encode_reply(
            total_count=len(component.authorizers),
            list=[_merchant_row(appid, authorizer) for appid, authorizer in page],
        )

    def _calling_platform(
        self, path: str, call: Call, body: dict[str, object]
    ) -> tuple[str, Component]:
        """The platform that a component token and the body name, if they name the same."""
        appid = self._tokens.owner(call.token, component=True)
        if text_in(body, "component_appid", errcodes.COMPONENT_APPID_MISSING) != appid:
            raise Refused(errcodes.BAD_APPID)
        component = self._component(appid, call.ip)
        self._spend(path, appid)
        return appid, component

    def _component(self, appid: str, ip: str) -> Component:
        if (component := self._components.get(appid)) is None:
            raise Refused(errcodes.BAD_APPID)
        if not self._listed(ip):
            raise Refused(
                errcodes.COMPONENT_IP_NOT_LISTED,
                f"access clientip is not registered requestIP: {ip}",
            )
        return component

    def _ordinary_account(self, path: str, call: Call) -> str:
        """The account that an access token is of, if it may use cloud development."""
        if call.method != "POST":
            raise Refused(errcodes.NEEDS_POST)
        token = call.query.get("access_token")
        appid = self._tokens.owner(token)
        if (platform := self._tokens.platform_of(token or "")) is not None:
            authorizer = self._components[platform].authorizer(appid)
            if CLOUD_DEVELOPMENT not in authorizer.permission_sets:
                raise Refused(errcodes.NO_PERMISSION)
        self._check_cloud_development(appid)
        self._spend(path, appid)
        return appid

    def _batch_account(self, path: str, call: Call) -> str:
        """The platform that a component token is of, if it may use cloud development."""
        if call.method != "POST":
            raise Refused(errcodes.NEEDS_POST)
        appid = self._tokens.owner(call.query.get("access_token"), component=True)
        self._component(appid, call.ip)
        self._check_cloud_development(appid)
        self._spend(path, appid)
        return appid


def _merchant_row(appid: str, authorizer: Authorizer) -> dict[str, object]:
    row: dict[str, object] = {"authorizer_appid": appid}
    if authorizer.exchanged:
        row["refresh_token"] = authorizer.refresh_token
    row["auth_time"] = authorizer.auth_time
    return row
