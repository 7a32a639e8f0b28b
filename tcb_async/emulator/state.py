"""One fault of every kind, by name. Rule: a test of all faults iterates over this table.

----

Environments and their functions. Rule: a page is one snapshot; no name is made up twice.

----

Functions for environments by the thousand. Rule: rows are shared, so that each costs nothing.

----

Apps and their two token endpoints.

Rule: a dead token is issued only where a test asked for that.

----

Third-party platforms and their merchants. Rule: a merchant that left is refused everywhere.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args, overload

import attrs

from tcb_async.emulator import wire
from tcb_async.emulator.faults import Fault
from tcb_async.emulator.server import EmulatorServer
from tcb_async.emulator.tokens import (
    CLOUD_DEVELOPMENT,
    AccessTokens,
    App,
    Authorizer,
    Component,
    Quotas,
    new_secret,
)
from tcb_async.emulator.wire import (
    ABNORMAL_ENV,
    UNKNOWN_ENV,
    Refused,
    encode_reply,
    from_wire_time,
    integer_in,
    text_in,
    wire_time,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableSequence

    from tcb_async.emulator.wire import Call, EmulatorClock


_OK = b'{"errcode":0,"errmsg":"ok","total_count":%b,"functions":[%b]}'
_ROW = (
    b'{"mod_time":"2019-06-21 15:23:54","add_time":"2019-02-27 15:34:59",'
    b'"runtime":"Nodejs8.9","name":%b,"status":"Active"}'
)
_BODIES = {
    "empty": b"",
    "null": b"null",
    "array": b"[]",
    "number": b"20",
    "no_errcode": b"{}",
    "html_as_json": b"<!DOCTYPE html><html><body>Please wait</body></html>",
    "bom": b"\xef\xbb\xbf" + _OK % (b"1", _ROW % b'"login"'),
    "invalid_utf8": _OK % (b"1", _ROW % b'"log\xff\xfein"'),
    "nan": _OK % (b"NaN", b""),
    "infinity": _OK % (b"1e999", b""),
    "negative_total": _OK % (b"-1", b""),
    "huge_number": _OK % (b"9" * 5000, b""),
    "deep_nesting": b"[" * 100_000 + b"]" * 100_000,
    "wrong_types": _OK % (b'"many"', b"17"),
    "null_row": _OK % (b"1", b"null"),
    "null_name": _OK % (b"1", _ROW % b"null"),
    "trailing_garbage": _OK % (b"0", b"") + b"}",
}
_RATE_LIMITED = Fault.status(429, b"", {"Retry-After": "1"})

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        **{name: Fault.body(body, name) for name, body in _BODIES.items()},
        **{
            fault.name: fault
            for fault in (
                Fault.errcode(-1),
                Fault.errcode(-1000),
                Fault.status(500),
                Fault.status(502),
                Fault.status(503),
                _RATE_LIMITED,
                Fault.redirect("http://127.0.0.1:9/"),
                Fault.truncated(),
                Fault.truncated(declared=False),
                Fault.disconnect(),
                Fault.reset(),
                Fault.drip(),
                Fault.hang(),
                Fault.endless(),
                Fault.gzip_bomb(),
            )
        },
    }
)
"""Every kind of fault by name. Only the client's timeout ends ``drip`` and ``hang``."""


Order = Literal["added", "newest_first"]
EnvironmentStatus = Literal["NORMAL", "HALTED", "UNAVAILABLE"]


def _encode(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def _function_row(function: DeployedFunction) -> dict[str, object]:
    return {
        "mod_time": function.mod_time,
        "add_time": function.add_time,
        "runtime": function.runtime,
        "name": function.name,
        "status": function.status,
    }


@attrs.frozen
class DeployedFunction:
    """One row of a list of functions, as WeChat shows it.

    Attributes:
        name: Unique in its environment.
        runtime: Such as ``Nodejs16.13``; None is sent as null.
        status: Such as ``Active``.
        add_time: ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00.
        mod_time: Likewise.
        status_reason: Why it failed: pairs of errcode and errmsg, shown to platforms only.
    """

    name: str
    runtime: str | None
    status: str
    add_time: str
    mod_time: str
    status_reason: tuple[tuple[str, str], ...] = ()
    wire: bytes = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda self: _encode(_function_row(self)), takes_self=True),
    )

    @property
    def wire_for_platforms(self) -> bytes:
        """The row in a platform's list, which says why a function failed."""
        reasons = [{"errcode": code, "errmsg": text} for code, text in self.status_reason]
        return _encode(_function_row(self) | {"status_reason": reasons})


@attrs.frozen
class EnvironmentInfo:
    """One row of a list of environments, as WeChat shows it.

    Attributes:
        env: Its id.
        alias: Its name.
        create_time: ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00.
        update_time: Likewise.
        status: ``NORMAL``, ``HALTED`` or ``UNAVAILABLE``.
        package_id: The plan, such as ``basic``.
        package_name: The plan's name.
        dbinstance_id: Its database, shown to platforms only.
        bucket_id: Its storage, shown to platforms only.
        owner: The appid that it belongs to; None for an environment of every ordinary account.
    """

    env: str
    alias: str
    create_time: str
    update_time: str
    status: EnvironmentStatus
    package_id: str
    package_name: str
    dbinstance_id: str
    bucket_id: str
    owner: str | None

    def row(self, *, for_platforms: bool) -> dict[str, object]:
        """The row in a list of environments."""
        row = attrs.asdict(self)
        del row["owner"]
        if not for_platforms:
            del row["dbinstance_id"], row["bucket_id"]
        return row


class _Environment:
    """One environment. Its functions may be shared with others until it is changed."""

    def __init__(self, info: EnvironmentInfo, shared: Sequence[DeployedFunction] = ()) -> None:
        self.info = info
        self._shared = shared
        self._rows: list[DeployedFunction] | None = None
        self._names: set[str] = set()
        self._named = 0

    @property
    def rows(self) -> Sequence[DeployedFunction]:
        """The functions, to read."""
        return self._shared if self._rows is None else self._rows

    def own_rows(self) -> MutableSequence[DeployedFunction]:
        """The functions, to change."""
        if self._rows is None:
            self._rows = list(self._shared)
            self._names = {row.name for row in self._rows}
            self._shared = ()
        return self._rows

    def holds(self, name: str | None) -> bool:
        self.own_rows()
        return name in self._names

    def new_name(self) -> str:
        while True:
            self._named += 1
            if not self.holds(name := f"fn-{self._named:04d}"):
                return name

    def insert(self, index: int, added: Sequence[DeployedFunction]) -> None:
        self.own_rows()[index:index] = added
        self._names.update(row.name for row in added)

    def remove(self, name: str) -> None:
        del self.own_rows()[self.position(name)]
        self._names.discard(name)

    def position(self, name: str) -> int:
        for position, row in enumerate(self.rows):
            if row.name == name:
                return position
        raise ValueError(f"name is {name!r}: no such function is deployed here")


class Environments:
    """Every environment of the emulator, by id.

    Args:
        clock: Seconds since 1970, now.
        order: Where a deployed or updated function stands; see ``Emulator``.
    """

    def __init__(self, clock: Callable[[], float], order: Order = "added") -> None:
        self._clock = clock
        if order not in get_args(Order):
            raise ValueError(f"order is {order!r}: it must be 'added' or 'newest_first'")
        self._order = order
        self._by_id: dict[str, _Environment] = {}
        self._of_owner: dict[str | None, list[str]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def page(self, env: str, owners: Iterable[str | None], offset: int, limit: int) -> bytes:
        """The reply of ``listfunctions``: ``limit`` rows from ``offset``, counted from 0.

        Args:
            env: The environment's id.
            owners: Whose environments the caller may see.
            offset: The first row.
            limit: The most rows.

        Raises:
            Refused: There is no such environment, or it is not in order.
        """
        rows = self._seen_by(env, owners).rows
        return _list_reply(len(rows), [row.wire for row in rows[offset : offset + limit]])

    def platform_page(self, env: str, owner: str, offset: int, limit: int, searchkey: str) -> bytes:
        """The reply of ``getscflist``; ``page`` explains the rest.

        Args:
            env: The environment's id.
            owner: The platform.
            offset: The first row.
            limit: The most rows.
            searchkey: What a function's name must contain.
        """
        rows = [row for row in self._seen_by(env, (owner,)).rows if searchkey in row.name]
        page = rows[offset : offset + limit]
        return _list_reply(len(rows), [row.wire_for_platforms for row in page])

    def infos(self, owners: Iterable[str | None]) -> tuple[EnvironmentInfo, ...]:
        """The environments of some owners, in the order in which they were created."""
        return tuple(
            self._by_id[env].info for owner in owners for env in self._of_owner.get(owner, ())
        )

    def add(  # noqa: PLR0913 - the fields of a row
        self,
        env: str,
        *,
        owner: str | None = None,
        alias: str | None = None,
        status: EnvironmentStatus = "NORMAL",
        package_id: str = "basic",
        package_name: str = "基础版 1",
        create_time: str | None = None,
        update_time: str | None = None,
        dbinstance_id: str | None = None,
        bucket_id: str | None = None,
        shared: Sequence[DeployedFunction] = (),
    ) -> EnvironmentInfo:
        """See ``Emulator.add_environment``. ``shared`` are functions that others may have too."""
        if env in self._by_id:
            raise ValueError(f"env is {env!r}: there is such an environment already")
        create_time, update_time = self._times(create_time, update_time)
        info = EnvironmentInfo(
            env,
            env.rpartition("-")[0] or env if alias is None else alias,
            create_time,
            update_time,
            status,
            package_id,
            package_name,
            f"tnt-{env}" if dbinstance_id is None else dbinstance_id,
            f"bucket-{env}" if bucket_id is None else bucket_id,
            owner,
        )
        self._by_id[env] = _Environment(info, shared)
        self._of_owner.setdefault(owner, []).append(env)
        return info

    def update_environment(self, env: str, status: EnvironmentStatus) -> EnvironmentInfo:
        """See ``Emulator.update_environment``."""
        environment = self._known(env)
        update_time = self._later_than(environment.info.update_time)
        environment.info = attrs.evolve(environment.info, status=status, update_time=update_time)
        return environment.info

    def delete_environment(self, env: str) -> None:
        """See ``Emulator.delete_environment``."""
        self._of_owner[self._known(env).info.owner].remove(env)
        del self._by_id[env]

    def deploy(  # noqa: PLR0913 - the fields of a row
        self,
        env: str,
        name: str | None = None,
        *,
        count: int = 1,
        runtime: str | None = "Nodejs16.13",
        status: str = "Active",
        status_reason: Iterable[tuple[str, str]] = (),
        index: int | None = None,
        add_time: str | None = None,
        mod_time: str | None = None,
    ) -> tuple[DeployedFunction, ...]:
        """See ``Emulator.deploy``."""
        if count < 0 or (name is not None and count != 1):
            raise ValueError(f"count is {count!r}: it must be 0 or more, and 1 with a name")
        reasons = tuple(status_reason)
        times = self._times(add_time, mod_time)
        if env not in self._by_id:
            self.add(env)
        environment = self._by_id[env]
        if environment.holds(name):
            raise ValueError(f"name is {name!r}, which is deployed to {env!r} already")
        added = tuple(
            DeployedFunction(name or environment.new_name(), runtime, status, *times, reasons)
            for _ in range(count)
        )
        if index is None:
            index = 0 if self._order == "newest_first" else len(environment.rows)
        environment.insert(index, added)
        return added

    def delete(self, env: str, name: str) -> None:
        """See ``Emulator.delete``."""
        self._known(env).remove(name)

    def update(
        self, env: str, name: str, *, status: str | None = None, runtime: str | None = None
    ) -> DeployedFunction:
        """See ``Emulator.update``."""
        environment = self._known(env)
        position = environment.position(name)
        rows = environment.own_rows()
        old = rows.pop(position)
        new = attrs.evolve(
            old,
            status=old.status if status is None else status,
            runtime=old.runtime if runtime is None else runtime,
            mod_time=self._later_than(old.mod_time),
        )
        rows.insert(0 if self._order == "newest_first" else position, new)
        return new

    def functions(self, env: str) -> tuple[DeployedFunction, ...]:
        """See ``Emulator.functions``."""
        return tuple(self._known(env).rows)

    def _times(self, first: str | None, last: str | None) -> tuple[str, str]:
        first = wire_time(self._clock()) if first is None else first
        last = first if last is None else last
        from_wire_time(first)
        from_wire_time(last)
        return first, last

    def _later_than(self, time: str) -> str:
        """Now, or a second after ``time``: a change must show although times are in seconds."""
        return wire_time(max(self._clock(), from_wire_time(time) + 1))

    def _seen_by(self, env: str, owners: Iterable[str | None]) -> _Environment:
        environment = self._by_id.get(env)
        if environment is None or environment.info.owner not in owners:
            raise Refused(UNKNOWN_ENV)
        if environment.info.status != "NORMAL":
            raise Refused(ABNORMAL_ENV)
        return environment

    def _known(self, env: str) -> _Environment:
        if (environment := self._by_id.get(env)) is None:
            raise ValueError(f"env is {env!r}: there is no such environment")
        return environment


def _list_reply(total: int, rows: Iterable[bytes]) -> bytes:
    return b'{"errcode":0,"errmsg":"ok","total_count":%d,"functions":[%b]}' % (
        total,
        b",".join(rows),
    )


_VERBS = (
    *("add", "bind", "cancel", "check", "close", "count", "create", "delete", "export", "get"),
    *("import", "list", "lock", "notify", "pay", "query", "refund", "send", "sync", "update"),
)
_NOUNS = (
    *("Address", "Banner", "Cart", "Coupon", "Goods", "Invoice", "Member", "Message", "Order"),
    *("Points", "Poster", "Price", "Queue", "Report", "Review", "Shop", "Slot", "Stock"),
    *("Ticket", "User"),
)
_RUNTIMES = ("Nodejs16.13", "Nodejs18.15", "Python3.10", "Php8.0", "Go1", "Nodejs8.9")
_WEIGHTS = (45, 28, 12, 6, 5, 4)
_STATUSES = ("Active", "Updating", "UpdateFailed")


@cache
def _pool() -> tuple[DeployedFunction, ...]:
    chance = random.Random(20190227)  # noqa: S311 - runtimes and days, no secrets
    names = [f"{verb}{noun}" for verb in _VERBS for noun in _NOUNS]
    chance.shuffle(names)
    return tuple(
        DeployedFunction(
            name,
            chance.choices(_RUNTIMES, _WEIGHTS)[0],
            chance.choices(_STATUSES, (96, 2, 2))[0],
            f"2023-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d} 09:30:00",
            f"2024-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d} 18:00:00",
        )
        for name in names
    )


MOST = len(_VERBS) * len(_NOUNS)
"""The most functions that can be generated for one environment."""


class GeneratedFunctions(Sequence[DeployedFunction]):
    """Some neighbours in the pool of functions that all generated environments share.

    Args:
        start: Where in the pool to begin, so that neighbouring environments differ.
        count: How many functions, at most ``MOST``.
    """

    __slots__ = ("_count", "_start")

    def __init__(self, start: int, count: int) -> None:
        self._start = start
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> DeployedFunction: ...
    @overload
    def __getitem__(self, index: slice) -> list[DeployedFunction]: ...
    def __getitem__(self, index: int | slice) -> DeployedFunction | list[DeployedFunction]:
        pool = _pool()
        picked = range(self._start, self._start + self._count)[index]
        if isinstance(picked, range):
            return [pool[number % MOST] for number in picked]
        return pool[picked % MOST]


_OWN_APPID = "wx0000000000000000"
OVERLAP = 300.0
"""Seconds that a token still lives after another has replaced it."""

_TOKEN_REFUSED = {wire.BAD_CREDENTIAL, wire.BAD_TOKEN, wire.TOKEN_EXPIRED}


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
            raise Refused(wire.BROKEN_BODY)
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
            raise Refused(wire.NEEDS_GET)
        appid, app = self._authenticated(call.query, call.ip)
        self._spend("/cgi-bin/token", appid)
        self._replace(app.classic, grace=OVERLAP)
        app.classic = self._tokens.issue(appid, self.token_life)
        return encode_reply(access_token=app.classic, expires_in=int(self.token_life))

    def _authenticated(self, fields: Mapping[str, object], ip: str) -> tuple[str, App]:
        if fields.get("grant_type") != "client_credential":
            raise Refused(wire.BAD_GRANT_TYPE)
        appid = text_in(fields, "appid", wire.APPID_MISSING)
        secret = text_in(fields, "secret", wire.SECRET_MISSING)
        if (app := self._apps.get(appid)) is None:
            raise Refused(wire.BAD_APPID)
        app.authenticate(secret)
        if not self._listed(ip):
            errmsg = f"invalid ip {ip} ipv6 ::ffff:{ip}, not in whitelist"
            raise Refused(wire.IP_NOT_LISTED, errmsg)
        return appid, app

    def _check_cloud_development(self, appid: str) -> None:
        if appid in self._without_cloud:
            raise Refused(wire.NO_CLOUD_DEVELOPMENT)

    def _spend(self, path: str, appid: str) -> None:
        self._quotas.spend(
            path, appid, daily=self.daily_quota.get(path), minute=self.minute_quota.get(path)
        )

    def _listed(self, ip: str) -> bool:
        return self.whitelist is None or ip in self.whitelist

    def _replace(self, token: str | None, *, grace: float) -> None:
        if token is not None:
            self._tokens.replace(token, grace)


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
        appid = text_in(body, "component_appid", wire.COMPONENT_APPID_MISSING)
        secret = text_in(body, "component_appsecret", wire.SECRET_MISSING)
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
        appid = text_in(body, "authorizer_appid", wire.APPID_MISSING)
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
            raise Refused(wire.BAD_ARGUMENT)
        if count > _MOST_AUTHORIZERS:
            raise Refused(wire.TOO_MANY_ROWS)
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
        if text_in(body, "component_appid", wire.COMPONENT_APPID_MISSING) != appid:
            raise Refused(wire.BAD_APPID)
        component = self._component(appid, call.ip)
        self._spend(path, appid)
        return appid, component

    def _component(self, appid: str, ip: str) -> Component:
        if (component := self._components.get(appid)) is None:
            raise Refused(wire.BAD_APPID)
        if not self._listed(ip):
            raise Refused(
                wire.COMPONENT_IP_NOT_LISTED,
                f"access clientip is not registered requestIP: {ip}",
            )
        return component

    def _ordinary_account(self, path: str, call: Call) -> str:
        """The account that an access token is of, if it may use cloud development."""
        if call.method != "POST":
            raise Refused(wire.NEEDS_POST)
        token = call.query.get("access_token")
        appid = self._tokens.owner(token)
        if (platform := self._tokens.platform_of(token or "")) is not None:
            authorizer = self._components[platform].authorizer(appid)
            if CLOUD_DEVELOPMENT not in authorizer.permission_sets:
                raise Refused(wire.NO_PERMISSION)
        self._check_cloud_development(appid)
        self._spend(path, appid)
        return appid

    def _batch_account(self, path: str, call: Call) -> str:
        """The platform that a component token is of, if it may use cloud development."""
        if call.method != "POST":
            raise Refused(wire.NEEDS_POST)
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
