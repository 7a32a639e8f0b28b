"""WeChat's endpoints: their replies without a fault.

Rule: an endpoint returns the fields of its reply, or raises ``Refused``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from tcb_async.emulator import state
from tcb_async.emulator.requests import RecordedRequest
from tcb_async.emulator.state import (
    App,
    Component,
    DeployedEnvironment,
    DeployedFunction,
    Refused,
    World,
)

LIST_FUNCTIONS = "/tcb/listfunctions"
TOKEN_LIFE = 7200.0
_MAX_AUTHORIZERS = 500
_REPLACED_ERRCODES = (40001, 40014)
_EXPIRED_ERRCODE = 42001
_OVERLAP = 300.0  # seconds that a token is still valid after it was replaced
_NO_FUNCTION = "FunctionName parameter could not be found."
_NOT_EMULATED = (
    "invalid url: the emulator does not have this endpoint, which WeChat may have; add its reply "
    "with Emulator.on_reply"
)

Fields = dict[str, Any]


class Endpoints:
    """The replies of WeChat, by path, and what they change in its world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_path: dict[str, Callable[[RecordedRequest], Fields]] = {
            "/cgi-bin/stable_token": self._issue_stable_token,
            "/cgi-bin/token": self._issue_classic_token,
            "/cgi-bin/component/api_component_token": self._issue_component_token,
            "/cgi-bin/component/api_authorizer_token": self._issue_authorizer_token,
            "/cgi-bin/component/api_get_authorizer_list": self._list_authorizers,
            LIST_FUNCTIONS: self._list_functions,
            "/tcb/getenvinfo": self._list_environments,
            "/tcb/invokecloudfunction": self._invoke_function,
            "/componenttcb/describeenvs": self._list_batch_environments,
            "/componenttcb/getscflist": self._list_batch_functions,
        }

    def reply(self, request: RecordedRequest) -> Fields:
        """Return the fields of the reply."""
        if (endpoint := self._by_path.get(request.path)) is None:
            raise Refused(40066, _NOT_EMULATED)
        return endpoint(request)

    # Tokens

    def _issue_stable_token(self, request: RecordedRequest) -> Fields:
        body = _read_body(request)
        forced = body.get("force_refresh") or False
        if not isinstance(forced, bool):
            raise Refused(47001)
        app = self._authenticate_app(body)
        # Return the same token until its last five minutes, so that processes which call at
        # different times share it. Forced mode invalidates it immediately.
        token = app.tokens.get(request.path)
        if forced:
            self._world.revoke(token)
        if token is None or self._world.seconds_left(token) <= _OVERLAP:
            token = app.tokens[request.path] = self._world.issue(app.appid, TOKEN_LIFE)
        return {"access_token": token, "expires_in": int(self._world.seconds_left(token))}

    def _issue_classic_token(self, request: RecordedRequest) -> Fields:
        # Each call issues a new token, and the one before is valid for five more minutes:
        # processes that do not share a token invalidate each other's.
        if request.method != "GET":
            raise Refused(43001)
        token = self._issue(self._authenticate_app(request.query), request)
        return {"access_token": token, "expires_in": int(TOKEN_LIFE)}

    def _issue_component_token(self, request: RecordedRequest) -> Fields:
        body = _read_body(request)
        appid = _get_text(body, "component_appid", 41018)
        secret = _get_text(body, "component_appsecret", 41004)
        component = self._world.components.get(appid)
        if component is None:
            raise Refused(40013)
        if secret != component.secret:
            raise Refused(40125)
        if _get_text(body, "component_verify_ticket", 61006) != component.ticket:
            raise Refused(61006)
        token = self._issue(component, request)
        return {"component_access_token": token, "expires_in": int(TOKEN_LIFE)}

    def _issue_authorizer_token(self, request: RecordedRequest) -> Fields:
        component = self._authenticate_platform(request)
        body = _read_body(request)
        merchant = component.merchants.get(_get_text(body, "authorizer_appid", 41002))
        if merchant is None:
            raise Refused(61003)
        if body.get("authorizer_refresh_token") != merchant.secret:
            raise Refused(61023)
        if merchant.rotates_next:
            merchant.secret = state.make_secret("refreshtoken@@@")
            merchant.rotates_next = False
        return {
            "authorizer_access_token": self._issue(merchant, request, platform=component.appid),
            "expires_in": int(TOKEN_LIFE),
            "authorizer_refresh_token": merchant.secret,
        }

    def _issue(self, account: App, request: RecordedRequest, *, platform: str | None = None) -> str:
        """Issue a token; the token before it is valid for at most five more minutes."""
        self._world.revoke(account.tokens.get(request.path), _OVERLAP)
        token = self._world.issue(account.appid, TOKEN_LIFE, platform=platform)
        account.tokens[request.path] = token
        return token

    # Lists

    def _list_authorizers(self, request: RecordedRequest) -> Fields:
        component = self._authenticate_platform(request)
        body = _read_body(request)
        # WeChat refuses a page of merchants that is too long; it shortens a page of functions.
        offset = _get_count(body, "offset")
        count = _get_count(body, "count")
        if count > _MAX_AUTHORIZERS:
            raise Refused(40170)
        merchants = [*component.merchants.values()]
        rows = [
            {
                "authorizer_appid": merchant.appid,
                "refresh_token": merchant.secret,
                "auth_time": merchant.auth_time,
            }
            for merchant in merchants[offset : offset + count]
        ]
        return {"total_count": len(merchants), "list": rows}

    def _list_functions(self, request: RecordedRequest) -> Fields:
        owner = self._authenticate_account(request)
        body = _read_body(request)
        env = _get_text(body, "env")
        limit = _get_count(body, "limit")
        offset = _get_count(body, "offset")
        functions = self._find_environment(env, owner).functions
        page = functions[offset : offset + self._clamp(limit)]
        rows = [_make_row(function) for function in page]
        return {"errcode": 0, "errmsg": "ok", "total_count": len(functions), "functions": rows}

    def _list_batch_functions(self, request: RecordedRequest) -> Fields:
        owner = self._authenticate_account(request, component=True)
        body = _read_body(request)
        env = _get_text(body, "env")
        limit = _get_count(body, "limit", default=20)
        offset = _get_count(body, "offset", default=0)
        searchkey = _get_text(body, "searchkey") if body.get("searchkey") else ""
        functions = self._find_environment(env, owner).functions
        matching = [function for function in functions if searchkey in function.name]
        page = matching[offset : offset + self._clamp(limit)]
        rows = [_make_row(function) for function in page]
        for row in rows:
            row.setdefault("status_reason", [])  # the last field, as in WeChat's example
        return {"errcode": 0, "errmsg": "ok", "total_count": len(matching), "functions": rows}

    def _clamp(self, limit: int) -> int:
        max_page = self._world.max_page
        return limit if max_page is None else min(limit, max_page)

    def _list_environments(self, request: RecordedRequest) -> Fields:
        owner = self._authenticate_account(request)
        env = _read_body(request).get("env")
        listed = [each for each in self._world.owned.get(owner, []) if env in ("", None, each.env)]
        rows = [_make_environment_row(each) for each in listed]
        return {"errcode": 0, "errmsg": "ok", "info_list": rows}

    def _list_batch_environments(self, request: RecordedRequest) -> Fields:
        owner = self._authenticate_account(request, component=True)
        rows = [
            _make_environment_row(each)
            | {"dbinstance_id": f"tnt-{each.env}", "bucket_id": f"bucket-{each.env}"}
            for each in self._world.owned.get(owner, [])
        ]
        return {"errcode": 0, "errmsg": "ok", "info_list": rows}

    def _invoke_function(self, request: RecordedRequest) -> Fields:
        """Return the input of the function as its result."""
        owner = self._authenticate_account(request)
        body = _read_body(request)
        env = _get_text(request.query, "env")
        name = _get_text(request.query, "name")
        if name not in {each.name for each in self._find_environment(env, owner).functions}:
            raise Refused(-501000, _NO_FUNCTION)
        return {"errcode": 0, "errmsg": "ok", "resp_data": json.dumps(body, ensure_ascii=False)}

    def _find_environment(self, env: str, owner: str | None) -> DeployedEnvironment:
        environment = self._world.environments.get(env)
        # WeChat does not show whether a different account has this environment. According to
        # CloudBase's page, an isolated environment has the same code.
        if environment is None or environment.owner != owner or environment.status != "NORMAL":
            raise Refused(-501000)
        return environment

    # Accounts

    def find_account(self, request: RecordedRequest) -> str | None:
        """Return the appid in a request's fields, or else of its token's owner, unchecked."""
        fields = {**request.query, **(request.body or {})}
        for key in ("authorizer_appid", "component_appid", "appid"):
            if isinstance(appid := fields.get(key), str):
                return appid
        issued = self._world.tokens.get(request.token or "")
        return None if issued is None else issued.owner

    def invalidate(self, token: str | None, errcode: int) -> None:
        """Refuse a token from now on, if the errcode of a fault says that it is invalid."""
        if token is None or token not in self._world.tokens:
            return
        if errcode in _REPLACED_ERRCODES:
            self._world.revoke(token)
        elif errcode == _EXPIRED_ERRCODE:
            self._world.expire([token])

    def _authenticate_app(self, fields: Mapping[str, object]) -> App:
        if fields.get("grant_type") != "client_credential":
            raise Refused(40002)
        appid = _get_text(fields, "appid", 41002)
        secret = _get_text(fields, "secret", 41004)
        if (app := self._world.apps.get(appid)) is None:
            raise Refused(40013)
        if secret != app.secret:
            raise Refused(40125)
        return app

    def _authenticate_platform(self, request: RecordedRequest) -> Component:
        """Return the platform of a component token, if the body names the same one."""
        body = _read_body(request)
        appid = self._world.check(request.token, component=True).owner
        if _get_text(body, "component_appid", 41018) != appid:
            raise Refused(40013)
        return self._world.components[appid]

    def _authenticate_account(
        self, request: RecordedRequest, *, component: bool = False
    ) -> str | None:
        """Return the owner of the environments that the caller sees; None: the shared ones."""
        _require_post(request)
        issued = self._world.check(request.query.get("access_token"), component=component)
        platform = self._world.components.get(issued.platform or "")
        if platform is not None and issued.owner not in platform.merchants:
            raise Refused(61003)
        # A platform sees only its own environments; an account without any sees the shared ones.
        return issued.owner if component or issued.owner in self._world.owned else None


def _make_row(function: DeployedFunction) -> Fields:
    return {
        "mod_time": function.mod_time,
        "add_time": function.add_time,
        "runtime": function.runtime,
        "name": function.name,
        "status": function.status,
        **deepcopy(function.more),  # a callback may change the reply
    }


def _make_environment_row(environment: DeployedEnvironment) -> Fields:
    return {
        "env": environment.env,
        "alias": environment.env.rpartition("-")[0] or environment.env,
        "create_time": environment.create_time,
        "update_time": environment.update_time,
        "status": environment.status,
        "package_id": "basic",
        "package_name": "基础版 1",
    }


def _require_post(request: RecordedRequest) -> None:
    if request.method != "POST":
        raise Refused(43002)


def _read_body(request: RecordedRequest) -> Mapping[str, object]:
    _require_post(request)
    if not request.raw:
        raise Refused(44002)
    if request.body is None:
        raise Refused(47001)
    return request.body


_MISSING_PARAMETER = 40101
_WRONG_TYPE = 47001
_OUT_OF_RANGE = 40097


def _get_text(
    fields: Mapping[str, object], key: str, missing_errcode: int = _MISSING_PARAMETER
) -> str:
    value = fields.get(key)
    if value is None or value == "":
        raise Refused(missing_errcode)
    if not isinstance(value, str):
        raise Refused(_WRONG_TYPE)
    return value


def _get_count(fields: Mapping[str, object], key: str, default: int | None = None) -> int:
    value = fields.get(key)
    value = default if value is None else value
    if value is None:
        raise Refused(_MISSING_PARAMETER)
    # In Python True is an int; on the wire it is not a number.
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(_WRONG_TYPE)
    if value < 0:
        raise Refused(_OUT_OF_RANGE)
    return value
