"""WeChat's endpoints: the replies of the emulator without a fault.

Rule: an endpoint returns the bytes of its reply or raises ``Refused``, under the lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

from tcb_async.emulator import state
from tcb_async.emulator.state import App, Component, EnvironmentInfo, EnvironmentState, World
from tcb_async.emulator.wire import (
    UNKNOWN_FUNCTION,
    ReceivedCall,
    RefusalCode,
    Refused,
    encode_reply,
    get_count,
    get_text,
)

AboveMaxPage = Literal["clamp", "refuse", "empty"]

LIST_FUNCTIONS = "/tcb/listfunctions"
_MAX_AUTHORIZERS = 500
_OVERLAP = 300.0  # seconds that a token still lives after it was replaced


class EndpointSettings(Protocol):
    """The settings of an ``Emulator``, which documents them; they may change at any time."""

    max_page: int | None
    above_max_page: AboveMaxPage
    token_life: float
    daily_quota: dict[str, int]


class Endpoints:
    """The replies of WeChat, by path, and what they change in its world."""

    def __init__(self, world: World, settings: EndpointSettings) -> None:
        self._world = world
        self._settings = settings
        self._tokens = world.tokens
        self.by_path: dict[str, Callable[[ReceivedCall], bytes]] = {
            "/cgi-bin/stable_token": self._issue_stable_token,
            "/cgi-bin/token": self._issue_classic_token,
            "/cgi-bin/component/api_component_token": self._issue_component_token,
            "/cgi-bin/component/api_authorizer_token": self._issue_authorizer_token,
            "/cgi-bin/component/api_get_authorizer_list": self._list_authorizers,
            LIST_FUNCTIONS: self._list_functions,
            "/tcb/getenvinfo": self._list_environments,
            "/tcb/databasecollectionget": self._list_collections,
            "/tcb/invokecloudfunction": self._invoke_function,
            "/componenttcb/describeenvs": self._list_batch_environments,
            "/componenttcb/getscflist": self._list_batch_functions,
        }

    # Tokens

    def _issue_stable_token(self, call: ReceivedCall) -> bytes:
        body = call.read_json()
        forced = body.get("force_refresh") or False
        if not isinstance(forced, bool):
            raise Refused(RefusalCode.BROKEN_BODY)
        app = self._authenticate_app(body)
        self._spend(call, app.appid)
        # Normal mode returns the same token until its last five minutes, so that processes which
        # call at different times share it. Forced mode invalidates it immediately, without overlap.
        if forced:
            self._world.quotas.spend_forced(app.appid)
            self._tokens.replace(app.stable, grace=0.0)
        if forced or app.stable is None or self._tokens.get_seconds_left(app.stable) <= _OVERLAP:
            app.stable = self._tokens.issue(app.appid, self._settings.token_life)
        left = int(self._tokens.get_seconds_left(app.stable))
        return encode_reply(access_token=app.stable, expires_in=left)

    def _issue_classic_token(self, call: ReceivedCall) -> bytes:
        # Each call issues a new token, and the one before lives for five more minutes: processes
        # that do not share a token invalidate each other's.
        if call.method != "GET":
            raise Refused(RefusalCode.NEEDS_GET)
        app = self._authenticate_app(call.query)
        self._spend(call, app.appid)
        self._tokens.replace(app.classic, grace=_OVERLAP)
        app.classic = self._tokens.issue(app.appid, self._settings.token_life)
        return encode_reply(access_token=app.classic, expires_in=int(self._settings.token_life))

    def _issue_component_token(self, call: ReceivedCall) -> bytes:
        body = call.read_json()
        appid = get_text(body, "component_appid", RefusalCode.COMPONENT_APPID_MISSING)
        secret = get_text(body, "component_appsecret", RefusalCode.SECRET_MISSING)
        if (component := self._world.components.get(appid)) is None:
            raise Refused(RefusalCode.BAD_APPID)
        component.authenticate(secret)
        ticket = get_text(body, "component_verify_ticket", RefusalCode.BAD_TICKET)
        component.accept_ticket(ticket, self._world.clock())
        self._spend(call, appid)
        self._tokens.replace(component.token, grace=_OVERLAP)
        component.token = self._tokens.issue(appid, self._settings.token_life, component=True)
        return encode_reply(
            component_access_token=component.token, expires_in=int(self._settings.token_life)
        )

    def _issue_authorizer_token(self, call: ReceivedCall) -> bytes:
        component = self._authenticate_platform(call)
        body = call.read_json()
        appid = get_text(body, "authorizer_appid", RefusalCode.APPID_MISSING)
        authorizer = component.get_authorizer(appid)
        authorizer.authenticate(body.get("authorizer_refresh_token"))
        self._tokens.replace(authorizer.token, grace=_OVERLAP)
        authorizer.token = self._tokens.issue(
            appid, self._settings.token_life, platform=component.appid
        )
        return encode_reply(
            authorizer_access_token=authorizer.token,
            expires_in=int(self._settings.token_life),
            authorizer_refresh_token=authorizer.refresh_token,
        )

    # Lists

    def _list_authorizers(self, call: ReceivedCall) -> bytes:
        component = self._authenticate_platform(call)
        body = call.read_json()
        # Not clamped like functions: WeChat refuses a page of merchants that is too long.
        offset = get_count(body, "offset")
        count = get_count(body, "count")
        if count > _MAX_AUTHORIZERS:
            raise Refused(RefusalCode.TOO_MANY_ROWS)
        page = [*component.authorizers.items()][offset : offset + count]
        rows = [authorizer.to_row(appid) for appid, authorizer in page]
        return encode_reply(total_count=len(component.authorizers), list=rows)

    def _list_functions(self, call: ReceivedCall) -> bytes:
        owner = self._authenticate_account(call)
        body = call.read_json()
        env = get_text(body, "env")
        limit = get_count(body, "limit")
        offset = get_count(body, "offset")
        size = self._choose_page_size(limit)
        rows = self._find_environment(env, owner).functions
        return _encode_functions(len(rows), [row.wire for row in rows[offset : offset + size]])

    def _list_batch_functions(self, call: ReceivedCall) -> bytes:
        owner = self._authenticate_account(call, component=True)
        body = call.read_json()
        env = get_text(body, "env")
        limit = get_count(body, "limit", default=20)
        offset = get_count(body, "offset", default=0)
        searchkey = get_text(body, "searchkey") if body.get("searchkey") else ""
        size = self._choose_page_size(limit)
        functions = self._find_environment(env, owner).functions
        rows = [row for row in functions if searchkey in row.name]
        page = rows[offset : offset + size]
        return _encode_functions(len(rows), [row.wire_for_platforms for row in page])

    def _list_environments(self, call: ReceivedCall) -> bytes:
        owner = self._authenticate_account(call)
        env = call.read_json().get("env")
        infos = self._world.list_infos(owner)
        listed = [info for info in infos if env in ("", None, info.env)]
        return _encode_environments(listed, for_platforms=False)

    def _list_collections(self, call: ReceivedCall) -> bytes:
        owner = self._authenticate_account(call)
        body = call.read_json()
        env = get_text(body, "env")
        limit = get_count(body, "limit", default=10)
        offset = get_count(body, "offset", default=0)
        names = self._find_environment(env, owner).collections
        return encode_reply(
            errcode=0,
            errmsg="ok",
            pager={"Offset": offset, "Limit": limit, "Total": len(names)},
            collections=[{"name": name, "count": 0} for name in names[offset : offset + limit]],
        )

    def _invoke_function(self, call: ReceivedCall) -> bytes:
        """Return the input of the function as its result."""
        owner = self._authenticate_account(call)
        body = call.read_json()
        env = get_text(call.query, "env")
        name = get_text(call.query, "name")
        if name not in {row.name for row in self._find_environment(env, owner).functions}:
            raise Refused(RefusalCode.INVALID_ENV, UNKNOWN_FUNCTION)
        return encode_reply(errcode=0, errmsg="ok", resp_data=json.dumps(body, ensure_ascii=False))

    def _list_batch_environments(self, call: ReceivedCall) -> bytes:
        owner = self._authenticate_account(call, component=True)
        return _encode_environments(self._world.list_infos(owner), for_platforms=True)

    def _choose_page_size(self, limit: int) -> int:
        max_page = self._settings.max_page
        above_max_page = self._settings.above_max_page
        if max_page is None or limit <= max_page:
            return limit
        if above_max_page == "refuse":
            raise Refused(RefusalCode.BAD_ARGUMENT)
        return max_page if above_max_page == "clamp" else 0

    def _find_environment(self, env: str, owner: str | None) -> EnvironmentState:
        found = self._world.environments.get(env)
        # An environment of a different account is unknown: WeChat does not show that it exists.
        # According to CloudBase's page, an isolated environment has the same code.
        if found is None or (found.info.owner, found.info.status) != (owner, "NORMAL"):
            raise Refused(RefusalCode.INVALID_ENV)
        return found

    # Accounts

    def guess_account(self, call: ReceivedCall) -> str | None:
        """Return the account of a call for the record and the scripts, not for access.

        So fields count before they are checked, and a dead token still has its owner.
        """
        fields = {**call.query, **(call.body or {})}
        for key in ("authorizer_appid", "component_appid", "appid"):
            if isinstance(appid := fields.get(key), str):
                return appid
        return self._tokens.find_owner(call.token)

    def _authenticate_app(self, fields: Mapping[str, object]) -> App:
        if fields.get("grant_type") != "client_credential":
            raise Refused(RefusalCode.BAD_GRANT_TYPE)
        appid = get_text(fields, "appid", RefusalCode.APPID_MISSING)
        secret = get_text(fields, "secret", RefusalCode.SECRET_MISSING)
        if (app := self._world.apps.get(appid)) is None:
            raise Refused(RefusalCode.BAD_APPID)
        app.authenticate(secret)
        return app

    def _authenticate_platform(self, call: ReceivedCall) -> Component:
        """Return the platform of a component token, if the body names the same one."""
        body = call.read_json()
        appid = self._tokens.check(call.token, component=True).owner
        if get_text(body, "component_appid", RefusalCode.COMPONENT_APPID_MISSING) != appid:
            raise Refused(RefusalCode.BAD_APPID)
        self._spend(call, appid)
        return self._world.components[appid]

    def _authenticate_account(self, call: ReceivedCall, *, component: bool = False) -> str | None:
        """Return the owner of the environments that the caller sees, if it may see any."""
        call.require_post()
        issued = self._tokens.check(call.query.get("access_token"), component=component)
        if issued.platform is not None:
            authorizer = self._world.components[issued.platform].get_authorizer(issued.owner)
            if state.CLOUD_DEVELOPMENT not in authorizer.permission_sets:
                raise Refused(RefusalCode.NO_PERMISSION)
        if issued.owner in self._world.without_cloud:
            raise Refused(RefusalCode.NO_CLOUD_DEVELOPMENT)
        self._spend(call, issued.owner)
        # A platform sees only its own environments, an account without any sees the shared ones.
        return issued.owner if component or issued.owner in self._world.owned else None

    def _spend(self, call: ReceivedCall, appid: str) -> None:
        if (allowed := self._settings.daily_quota.get(call.path)) is not None:
            self._world.quotas.spend(call.path, appid, allowed)


def _encode_functions(total: int, rows: Iterable[bytes]) -> bytes:
    # Joined from rows that were encoded once: encoding each page again would slow down long lists.
    return b'{"errcode":0,"errmsg":"ok","total_count":%d,"functions":[%b]}' % (
        total,
        b",".join(rows),
    )


def _encode_environments(infos: Iterable[EnvironmentInfo], *, for_platforms: bool) -> bytes:
    rows = [_make_row(info, for_platforms=for_platforms) for info in infos]
    return encode_reply(errcode=0, errmsg="ok", info_list=rows)


def _make_row(info: EnvironmentInfo, *, for_platforms: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "env": info.env,
        "alias": info.env.rpartition("-")[0] or info.env,
        "create_time": info.create_time,
        "update_time": info.update_time,
        "status": info.status,
        "package_id": "basic",
        "package_name": "基础版 1",
    }
    if for_platforms:
        row |= {"dbinstance_id": f"tnt-{info.env}", "bucket_id": f"bucket-{info.env}"}
    return row
