"""State of the emulator: environments, accounts, tokens, quotas.

Rule: its ``repr`` shows no token and no secret.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Literal

import attrs

from tcb_async.emulator.wire import EmulatorClock, RefusalCode, Refused, encode_reply, token_id

EnvironmentStatus = Literal["NORMAL", "HALTED", "UNAVAILABLE"]

CLOUD_DEVELOPMENT = 49
"""The permission set of cloud development (云开发)."""

_CHINA_OFFSET = 8 * 3600
_DAY = 86_400
_FORCED_A_DAY = 20
_FORCED_APART = 30
_TICKET_LIFE = 12 * 3600.0
_TOKEN_LENGTH = 157


@attrs.frozen
class DeployedFunction:
    """One row of a list of functions, with the fields that `Emulator.deploy` takes."""

    name: str
    runtime: str | None
    status: str
    add_time: str
    mod_time: str
    status_reason: tuple[tuple[str, str], ...] = ()
    more: Mapping[str, object] = attrs.field(factory=dict[str, object], hash=False)

    @cached_property
    def wire(self) -> bytes:
        """The row in a list, encoded once, so that a page is only joined from its rows."""
        return self._encode()

    @property
    def wire_for_platforms(self) -> bytes:
        """The row in a platform's list, with the reasons of a failure."""
        reasons = [{"errcode": code, "errmsg": text} for code, text in self.status_reason]
        return self._encode(status_reason=reasons)

    def _encode(self, **reasons: object) -> bytes:
        fields = {
            "mod_time": self.mod_time,
            "add_time": self.add_time,
            "runtime": self.runtime,
            "name": self.name,
            "status": self.status,
            **reasons,
            **self.more,
        }
        return encode_reply(**fields)


@attrs.frozen
class EnvironmentInfo:
    """One row of a list of environments, with the fields of `Emulator.add_environment`."""

    env: str
    create_time: str
    update_time: str
    status: EnvironmentStatus
    owner: str | None


@attrs.define
class EnvironmentState:
    """One environment. A change replaces the tuple of functions, so a page is one snapshot."""

    info: EnvironmentInfo
    functions: tuple[DeployedFunction, ...] = ()
    collections: tuple[str, ...] = ()
    generated_names: int = 0

    def make_names(self, count: int) -> list[str]:
        """Make new names: never a name that is taken or was made before."""
        taken = {function.name for function in self.functions}
        names: list[str] = []
        while len(names) < count:
            self.generated_names += 1
            if (name := f"fn-{self.generated_names:04d}") not in taken:
                names.append(name)
        return names

    def insert(self, index: int, added: Iterable[DeployedFunction]) -> None:
        # A new tuple: a page that is being sent, or that a test uses, must not change.
        self.functions = (*self.functions[:index], *added, *self.functions[index:])

    def remove(self, name: str) -> tuple[int, DeployedFunction]:
        """Remove a function, and return the row that it was, and the function."""
        for index, function in enumerate(self.functions):
            if function.name == name:
                self.functions = self.functions[:index] + self.functions[index + 1 :]
                return index, function
        raise ValueError(f"name={name!r}: no such function is deployed here")


@attrs.define
class Quotas:
    """Counts of calls, by path and account, in a day of China's time."""

    clock: EmulatorClock
    _made: Counter[tuple[int, str, str]] = attrs.field(
        init=False, factory=Counter[tuple[int, str, str]]
    )
    _forced_at: dict[str, float] = attrs.field(init=False, factory=dict[str, float])

    def spend(self, path: str, appid: str, allowed: int) -> None:
        """Count one call; Refused if it exceeds the allowed calls of a day."""
        # WeChat's quotas start again at midnight in China.
        today = int(self.clock() + _CHINA_OFFSET) // _DAY
        self._made[today, path, appid] += 1
        if self._made[today, path, appid] > allowed:
            raise Refused(RefusalCode.DAILY_QUOTA)

    def spend_forced(self, appid: str) -> None:
        """Count one forced refresh of a stable token: 20 a day, 30 seconds apart."""
        # The limit per minute first: a call that it refuses does not count for the day.
        now = self.clock()
        if now - self._forced_at.get(appid, -math.inf) < _FORCED_APART:
            raise Refused(RefusalCode.MINUTE_QUOTA)
        self.spend("force_refresh", appid, _FORCED_A_DAY)
        self._forced_at[appid] = now


@attrs.define
class IssuedToken:
    """A token that was issued to ``owner``, or to a ``platform`` that calls for the owner.

    ``is_component``: it is a platform's own, for its endpoints only. ``is_stuck``: the token
    endpoints treat it as if it had not been replaced.
    """

    owner: str
    is_component: bool
    platform: str | None
    expires_at: float
    replaced_at: float = math.inf
    is_stuck: bool = False


@attrs.define
class AccessTokens:
    """Every access token that was issued, by its fingerprint: no error shows a token."""

    clock: EmulatorClock
    issued_to: Counter[str] = attrs.field(init=False, factory=Counter[str])
    _issued: dict[str, IssuedToken] = attrs.field(init=False, factory=dict[str, IssuedToken])

    def issue(
        self, owner: str, life: float, *, component: bool = False, platform: str | None = None
    ) -> str:
        token = secrets.token_urlsafe(_TOKEN_LENGTH)[:_TOKEN_LENGTH]
        self.issued_to[owner] += 1
        expires_at = self.clock() + life
        self._issued[token_id(token)] = IssuedToken(owner, component, platform, expires_at)
        return token

    def check(self, token: str | None, *, component: bool = False) -> IssuedToken:
        """Check a token: Refused if it is missing, unknown, replaced, expired, of another kind."""
        # In WeChat's order: one errcode for each state of a token, which clients tell apart.
        if not token:
            raise Refused(RefusalCode.TOKEN_MISSING)
        if (issued := self._issued.get(token_id(token))) is None:
            raise Refused(RefusalCode.BAD_TOKEN)
        now = self.clock()
        if issued.replaced_at <= now or issued.is_component != component:
            raise Refused(RefusalCode.BAD_CREDENTIAL)
        if issued.expires_at <= now:
            raise Refused(RefusalCode.TOKEN_EXPIRED)
        return issued

    def find_owner(self, token: str | None) -> str | None:
        """Return the owner of a token, even of an expired one; None for an unknown token."""
        issued = self._issued.get(token_id(token or ""))
        return None if issued is None else issued.owner

    def get_seconds_left(self, token: str) -> float:
        """Return the seconds until a token expires for the token endpoints; 0 if it has expired."""
        issued = self._issued[token_id(token)]
        ends_at = (
            issued.expires_at if issued.is_stuck else min(issued.expires_at, issued.replaced_at)
        )
        return max(0.0, ends_at - self.clock())

    def replace(self, token: str | None, grace: float, *, stuck: bool = False) -> None:
        if token is not None:
            issued = self._issued[token_id(token)]
            # The earlier expiry stays: replacing a token twice must not prolong its life.
            issued.replaced_at = min(issued.replaced_at, self.clock() + grace)
            issued.is_stuck = stuck

    def invalidate(self, token: str, errcode: int) -> None:
        """Refuse a token from now on, if the errcode says so and it was issued here."""
        if (issued := self._issued.get(token_id(token))) is None:
            return
        if errcode == RefusalCode.TOKEN_EXPIRED:
            issued.expires_at = min(issued.expires_at, self.clock())
        elif errcode in (RefusalCode.BAD_CREDENTIAL, RefusalCode.BAD_TOKEN):
            issued.replaced_at = min(issued.replaced_at, self.clock())

    def expire(self) -> None:
        now = self.clock()
        for issued in self._issued.values():
            issued.expires_at = min(issued.expires_at, now)


def make_secret(prefix: str) -> str:
    return f"{prefix}{secrets.token_urlsafe(32)}"


@attrs.define
class CallingAccount:
    """An app or a platform, which calls in its own name and has an appsecret."""

    appid: str
    secret: str = attrs.field(repr=False)

    def authenticate(self, secret: str) -> None:
        if secret != self.secret:
            raise Refused(RefusalCode.BAD_SECRET)


@attrs.define
class App(CallingAccount):
    """A mini program or official account, with the last token of each token endpoint."""

    stable: str | None = attrs.field(default=None, repr=False)
    classic: str | None = attrs.field(default=None, repr=False)


@attrs.define
class Merchant:
    """A merchant that authorised a platform; see ``Emulator.add_authorizer``.

    ``is_rotating``: a new refresh token arrives with its next token. ``token`` is its last one.
    """

    refresh_token: str = attrs.field(repr=False)
    auth_time: int
    is_exchanged: bool
    permission_sets: frozenset[int]
    is_rotating: bool = False
    token: str | None = attrs.field(default=None, repr=False)

    def authenticate(self, refresh_token: object) -> None:
        """Check the refresh token, and rotate it if that is due."""
        if refresh_token != self.refresh_token:
            raise Refused(RefusalCode.BAD_REFRESH_TOKEN)
        if self.is_rotating:
            self.refresh_token = make_secret("refreshtoken@@@")
            self.is_rotating = False

    def to_row(self, appid: str) -> dict[str, object]:
        shown = {"refresh_token": self.refresh_token} if self.is_exchanged else {}
        return {"authorizer_appid": appid, **shown, "auth_time": self.auth_time}


@attrs.define
class Component(CallingAccount):
    """A third-party platform: tickets with the times of their push, last token, and merchants."""

    tickets: dict[str, float] = attrs.field(factory=dict[str, float], repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    authorizers: dict[str, Merchant] = attrs.field(factory=dict[str, Merchant])

    def accept_ticket(self, ticket: str, now: float) -> None:
        if (pushed_at := self.tickets.get(ticket)) is None:
            raise Refused(RefusalCode.BAD_TICKET)
        if now - pushed_at >= _TICKET_LIFE:
            raise Refused(RefusalCode.TICKET_EXPIRED)

    def get_authorizer(self, appid: str) -> Merchant:
        if (authorizer := self.authorizers.get(appid)) is None:
            raise Refused(RefusalCode.NOT_AUTHORIZED)
        return authorizer


@attrs.define
class World:
    """WeChat's side: environments, also by owner, accounts, tokens, and quotas."""

    clock: EmulatorClock
    environments: dict[str, EnvironmentState] = attrs.field(
        init=False, factory=dict[str, EnvironmentState]
    )
    owned: defaultdict[str | None, dict[str, EnvironmentState]] = attrs.field(
        init=False, factory=lambda: defaultdict[str | None, dict[str, EnvironmentState]](dict)
    )
    apps: dict[str, App] = attrs.field(init=False, factory=dict[str, App])
    components: dict[str, Component] = attrs.field(init=False, factory=dict[str, Component])
    without_cloud: set[str] = attrs.field(init=False, factory=set[str])
    tokens: AccessTokens = attrs.Factory(lambda self: AccessTokens(self.clock), takes_self=True)
    quotas: Quotas = attrs.Factory(lambda self: Quotas(self.clock), takes_self=True)

    def list_infos(self, owner: str | None) -> tuple[EnvironmentInfo, ...]:
        return tuple(environment.info for environment in self.owned.get(owner, {}).values())
