"""WeChat's side: environments with their functions, accounts, and tokens.

Rule: a change replaces a value in one step, so that a reply is made of one state. The ``repr`` of a
value shows no token and no secret.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Literal

import attrs

EnvironmentStatus = Literal["NORMAL", "HALTED", "UNAVAILABLE"]

_CHINA = timezone(timedelta(hours=8))
_FORMAT = "%Y-%m-%d %H:%M:%S"
_TOKEN_LENGTH = 157

ERRMSG: dict[int, str] = {
    -1: "system error",
    -1000: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40013: "invalid appid",
    40014: "invalid access_token",
    40097: "invalid args",
    40101: "missing parameter",
    40125: "invalid appsecret",
    40170: "args count exceed count limit",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41018: "missing component_appid",
    42001: "access_token expired",
    43001: "require GET method",
    43002: "require POST method",
    44002: "empty post data",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    47001: "data format error",
    48001: "api unauthorized",
    61003: "component is not authorized by this account",
    61006: "component ticket is invalid",
    61007: "api is unauthorized to component",
    61023: "refresh_token is invalid",
    85088: "no qbase privilege",
    -501000: "Environment not found TcbCode: [INVALID_ENV]",
}
"""WeChat's texts of frequent errcodes. The text of any other is "error"."""


class Refused(Exception):  # noqa: N818 - a reply, not an error of the emulator
    """The reply is an errcode, with WeChat's text or a different one."""

    def __init__(self, errcode: int, errmsg: str | None = None) -> None:
        self.errcode = errcode
        self.errmsg: str = ERRMSG.get(errcode, "error") if errmsg is None else errmsg


class EmulatorClock:
    """A clock that a test can advance.

    Args:
        start: Seconds since 1970, at which the clock stands still until it is advanced; None for a
            clock that goes with the machine's.
    """

    def __init__(self, start: float | None = None) -> None:
        self._start = start
        self._advanced = 0.0

    def __call__(self) -> float:
        """Return the seconds since 1970."""
        return (time.time() if self._start is None else self._start) + self._advanced

    def advance(self, seconds: float) -> None:
        """Advance the clock; ValueError unless ``seconds`` is finite and 0 or more."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds={seconds!r}: must be a finite number, 0 or more")
        self._advanced += seconds


def format_time(seconds: float) -> str:
    """Format a time as WeChat does: UTC+08:00, to the second, without the zone."""
    return datetime.fromtimestamp(seconds, _CHINA).strftime(_FORMAT)


def parse_time(text: str) -> float:
    """Parse ``YYYY-MM-DD HH:MM:SS`` at UTC+08:00; ValueError for any other text."""
    seconds = datetime.strptime(text, _FORMAT).replace(tzinfo=_CHINA).timestamp()
    if format_time(seconds) != text:
        raise ValueError(f"{text!r}: must be a time such as '2026-01-31 03:00:00'")
    return seconds


@attrs.frozen
class DeployedFunction:
    """One row of a list of functions, with the fields that `Emulator.deploy` takes."""

    name: str
    runtime: str | None
    status: str
    add_time: str
    mod_time: str
    more: Mapping[str, object] = attrs.field(factory=dict[str, object], hash=False)


@attrs.define
class DeployedEnvironment:
    """One environment, with the fields of `Emulator.add_environment`, and what is in it."""

    env: str
    create_time: str
    update_time: str
    status: EnvironmentStatus
    owner: str | None
    functions: tuple[DeployedFunction, ...] = attrs.field(default=(), repr=False)
    generated_count: int = attrs.field(default=0, repr=False)

    def make_names(self, count: int) -> list[str]:
        """Make new names: never a name that is taken or was made before."""
        taken = {function.name for function in self.functions}
        names: list[str] = []
        while len(names) < count:
            self.generated_count += 1
            name = f"fn-{self.generated_count:04d}"
            if name not in taken:
                names.append(name)
        return names

    def find_index(self, name: str) -> int:
        """Return the index of a function in the list; ValueError for an unknown name."""
        for index, function in enumerate(self.functions):
            if function.name == name:
                return index
        raise ValueError(f"name={name!r}: no such function is deployed here")

    def replace(self, start: int, end: int, functions: Iterable[DeployedFunction]) -> None:
        """Replace the rows ``[start:end]`` of the list."""
        self.functions = (*self.functions[:start], *functions, *self.functions[end:])


@attrs.define
class IssuedToken:
    """A token of ``owner``, issued to it or to a ``platform`` that calls for it.

    ``replaced_at`` is the time from which it is refused, because it was replaced.
    """

    owner: str
    platform: str | None
    expires_at: float
    replaced_at: float = math.inf


@attrs.define
class App:
    """An app, and the base of a platform and of a merchant.

    ``secret`` is the appsecret, or the refresh token of a merchant. ``tokens`` are its latest
    access tokens, by the path of the endpoint that issued them.
    """

    appid: str
    secret: str = attrs.field(repr=False)
    tokens: dict[str, str] = attrs.field(init=False, factory=dict[str, str], repr=False)


@attrs.define
class Merchant(App):
    """A merchant that authorised a platform.

    ``rotates_next``: its refresh token is replaced when its next access token is issued.
    """

    auth_time: int
    rotates_next: bool = False


@attrs.define
class Component(App):
    """A third-party platform, with its ticket and its merchants by appid."""

    ticket: str = attrs.field(repr=False)
    merchants: dict[str, Merchant] = attrs.field(factory=dict[str, Merchant])


@attrs.define
class World:
    """All that WeChat knows.

    ``owned`` are the environments by owner; the owner of shared ones is None. ``max_page`` is the
    limit of the functions on a page.
    """

    clock: EmulatorClock
    max_page: int | None = attrs.field(init=False, default=None)
    environments: dict[str, DeployedEnvironment] = attrs.field(
        factory=dict[str, DeployedEnvironment]
    )
    owned: dict[str | None, list[DeployedEnvironment]] = attrs.field(
        factory=dict["str | None", list[DeployedEnvironment]]
    )
    apps: dict[str, App] = attrs.field(factory=dict[str, App])
    components: dict[str, Component] = attrs.field(factory=dict[str, Component])
    tokens: dict[str, IssuedToken] = attrs.field(factory=dict[str, IssuedToken], repr=False)

    def issue(self, owner: str, life: float, *, platform: str | None = None) -> str:
        """Issue a token of ``life`` seconds."""
        token = secrets.token_urlsafe(_TOKEN_LENGTH)[:_TOKEN_LENGTH]
        self.tokens[token] = IssuedToken(owner, platform, self.clock() + life)
        return token

    def check(self, token: str | None, *, component: bool = False) -> IssuedToken:
        """Return what is known of a valid token; Refused with the errcode for an invalid one.

        With ``component``, only a platform's own token is valid; without, only any other.
        """
        if not token:
            raise Refused(41001)
        issued = self.tokens.get(token)
        if issued is None:
            raise Refused(40014)
        now = self.clock()
        is_component = issued.owner in self.components
        if issued.replaced_at <= now or is_component != component:
            raise Refused(40001)
        if issued.expires_at <= now:
            raise Refused(42001)
        return issued

    def seconds_left(self, token: str) -> float:
        """Return the seconds until a token expires or is refused; 0 afterwards."""
        issued = self.tokens[token]
        return max(0.0, min(issued.expires_at, issued.replaced_at) - self.clock())

    def revoke(self, token: str | None, grace: float = 0.0) -> None:
        """Refuse a token after ``grace`` seconds, as WeChat does after it was replaced."""
        if token is not None:
            issued = self.tokens[token]
            issued.replaced_at = min(issued.replaced_at, self.clock() + grace)

    def expire(self, tokens: Iterable[str]) -> None:
        """Make these tokens expire now."""
        now = self.clock()
        for token in tokens:
            self.tokens[token].expires_at = min(self.tokens[token].expires_at, now)


def make_secret(prefix: str) -> str:
    """Make a secret that looks like WeChat's."""
    return f"{prefix}{secrets.token_urlsafe(32)}"
