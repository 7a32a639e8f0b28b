"""The token of an app: a mini program or an official account.

Rule: only how WeChat is asked; how a token is kept is in `tcb_async.tokens.kept`.
"""

from __future__ import annotations

import math
import random
import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import attrs

from tcb_async._redact import Secret
from tcb_async.exceptions import DailyQuotaError, RateLimitError
from tcb_async.tokens.arguments import checked_appid, checked_secret
from tcb_async.tokens.kept import Setting
from tcb_async.tokens.managed import ManagedToken
from tcb_async.tokens.replies import Grant, read_grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from tcb_async.tokens.protocols import TokenApi, TokenKind, TokenStore

__all__ = ["ClassicToken", "StableToken"]

_STABLE = "/cgi-bin/stable_token"
_CLASSIC = "/cgi-bin/token"
_FORCED_APART = 30.0
_FORCED_A_DAY = 20
_DAY, _CHINA = 86_400, 8 * 3600


class StableToken(ManagedToken):
    """The token of an app from ``POST /cgi-bin/stable_token``: the one to use.

    It is asked for in normal mode, which leaves the tokens of other processes valid. One provider
    may serve any number of clients, one event loop at a time.

    ::

        TcbClient(StableToken("wx0123456789abcdef", appsecret))

    Args:
        appid: The app's id.
        secret: Its appsecret.
        store: Where the token is shared, such as a `RedisStore`; None keeps it in this provider.
        clock: Seconds since 1970; for tests.
        random: A number from 0 to 1; for tests.

    Raises:
        ConfigurationError: An argument is unusable.

    Source: WeChat's page *getStableAccessToken*.
    """

    __slots__ = ("_forced", "_secret")

    kind: ClassVar[TokenKind] = "access"
    _name: ClassVar[str] = "stable"

    def __init__(
        self,
        appid: str,
        secret: str | Secret,
        *,
        store: TokenStore | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        secret, given = Secret(secret), Secret(appid)
        del appid
        self._secret = checked_secret("secret", secret)
        super().__init__(checked_appid("appid", given), Setting.of(store, clock, random))
        self._forced = _ForcedRefreshes()

    async def force_refresh(self, api: TokenApi) -> None:
        """Replace the token, which ends the old one in all processes at once.

        For a token that has leaked. It is done only when this method is called.

        Args:
            api: What to ask WeChat with.

        Raises:
            RateLimitError: This provider forced a refresh less than 30 s ago; nothing was sent.
            DailyQuotaError: It did so 20 times today, by China's calendar; nothing was sent.
            TcbError: WeChat refused, or could not be asked.
        """
        self._forced.count(self._setting.clock())
        ask = partial(self._request, force_refresh=True)
        await self._at(api).force(api, ask)

    async def _ask(self, api: TokenApi) -> Grant:
        return await self._request(api, force_refresh=False)

    async def _request(self, api: TokenApi, *, force_refresh: bool) -> Grant:
        return read_grant(
            await api.call_token_endpoint(
                _STABLE,
                body={
                    "grant_type": "client_credential",
                    "appid": self.appid,
                    "secret": self._secret,
                    "force_refresh": force_refresh,
                },
            ),
            _STABLE,
        )


class ClassicToken(ManagedToken):
    """The token of an app from ``GET /cgi-bin/token``, for apps that cannot use `StableToken`.

    Each call ends the token before it, in all processes, five minutes later. So all processes that
    use the app have to share one store.

    Args:
        appid: The app's id.
        secret: Its appsecret.
        store: Where the token is shared, such as a `RedisStore`; None keeps it in this provider.
        clock: Seconds since 1970; for tests.
        random: A number from 0 to 1; for tests.

    Raises:
        ConfigurationError: An argument is unusable.

    Source: WeChat's page *getAccessToken*.
    """

    __slots__ = ("_secret",)

    kind: ClassVar[TokenKind] = "access"
    _name: ClassVar[str] = "classic"

    def __init__(
        self,
        appid: str,
        secret: str | Secret,
        *,
        store: TokenStore | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        secret, given = Secret(secret), Secret(appid)
        del appid
        self._secret = checked_secret("secret", secret)
        super().__init__(checked_appid("appid", given), Setting.of(store, clock, random))

    async def _ask(self, api: TokenApi) -> Grant:
        return read_grant(
            await api.call_token_endpoint(
                _CLASSIC,
                query={
                    "grant_type": "client_credential",
                    "appid": self.appid,
                    "secret": self._secret,
                },
            ),
            _CLASSIC,
        )


@attrs.define
class _ForcedRefreshes:
    """How often one provider forced a refresh: WeChat allows 20 a day, 30 seconds apart."""

    _last: float = -math.inf
    _day: int = 0
    _made: int = 0

    def count(self, now: float) -> None:
        wait = _FORCED_APART - (now - self._last)
        if 0 < wait <= _FORCED_APART:
            raise RateLimitError(
                f"force_refresh: WeChat allows one in {_FORCED_APART:g} s, so nothing was sent; "
                f"wait another {wait:.0f} s",
                endpoint=_STABLE,
                retry_after=wait,
            )
        day = int(now + _CHINA) // _DAY
        made = self._made if day == self._day else 0
        if made >= _FORCED_A_DAY:
            raise DailyQuotaError(
                f"force_refresh: WeChat allows {_FORCED_A_DAY} a day, so nothing was sent; wait "
                "until midnight in China, and find out why the token keeps failing",
                endpoint=_STABLE,
            )
        self._last, self._day, self._made = now, day, made + 1
