"""Providers that ask WeChat for their tokens, with one token for each host.

Rule: what came from one host is kept apart from what came from another, in memory and in the store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from tcb_async._redact import Secret
from tcb_async.tokens.hosts import host_of
from tcb_async.tokens.kept import KeptToken

if TYPE_CHECKING:
    from tcb_async.tokens.kept import Setting
    from tcb_async.tokens.protocols import TokenApi, TokenKind
    from tcb_async.tokens.replies import Grant

__all__ = ["ManagedToken"]


class ManagedToken(ABC):
    """A token that comes from WeChat, is shared through a store and refreshed before it expires.

    Args:
        account: Whose token it is, as in its keys in the store.
        setting: What it has in common with others.

    Attributes:
        kind: What kind of token it is.
    """

    __slots__ = ("_account", "_kept", "_last", "_setting")

    kind: ClassVar[TokenKind]
    _name: ClassVar[str]

    def __init__(self, account: str, setting: Setting) -> None:
        self._account = account
        self._setting = setting
        self._kept: dict[str, KeptToken] = {}  # by host, and by each base URL of a host
        self._last: KeptToken | None = None

    @property
    def appid(self) -> str:
        """Whose token it is."""
        return self._account.rpartition(":")[2]

    @property
    def expires_at(self) -> float | None:
        """When the token that is held expires, in seconds since 1970; None if none is held.

        Where clients of several hosts share the provider, it is the token of the last that asked.
        """
        last = self._last
        return None if last is None or last.held is None else last.held.expires_at

    def __repr__(self) -> str:
        if not hasattr(self, "_last"):  # as in the traceback of an argument that was refused
            return f"<{type(self).__name__}, not made>"
        last, expires_at = self._last, self.expires_at
        if last is None or expires_at is None:
            state = "no token"
        else:
            state = f"{'fresh until' if last.is_alive else 'expired at'} {_shown(expires_at)}"
        refreshing = ", refreshing" if last is not None and last.refreshing else ""
        return f"<{type(self).__name__} {self.appid}, {state}{refreshing}>"

    async def get_token(self, api: TokenApi) -> Secret:
        """Return a valid token; ask the store or WeChat for one only if none is held.

        From 60 to 200 s before its expiry the token is refreshed in the background, and the old
        one is returned meanwhile.

        Args:
            api: What to ask WeChat with. It says which host that is: each has a token of its own.

        Raises:
            TokenError: WeChat refused the credentials, or sent an unusable token.
            TcbError: WeChat could not be asked.
        """
        return await self._at(api).get(api)

    async def invalidate(self, token: str | Secret) -> None:
        """Drop a token that WeChat refused, here and in the store.

        A token that WeChat returns again although it refused it is kept for 30 s, so that a
        refusal that lasts does not become a storm of token calls.

        Args:
            token: The token that was refused. A newer one is not touched.
        """
        token = Secret(token)
        for kept in set(self._kept.values()):
            await kept.refuse(token)

    def came_from_wechat(self, token: Secret) -> bool:
        """Whether this is a token that the provider asked WeChat for itself.

        One that came through the store may have been refused elsewhere, unknown to the provider.
        """
        return any(kept.came_from_wechat(token) for kept in self._kept.values())

    @abstractmethod
    async def _ask(self, api: TokenApi) -> Grant:
        """Ask WeChat for a token."""

    def _keep(self, key: str) -> KeptToken:
        return KeptToken(key, self._setting, self._ask)

    def _at(self, api: TokenApi) -> KeptToken:
        url = api.base_url
        kept = self._kept.get(url)
        if kept is None:
            host = host_of(url)
            kept = self._kept.get(host)
            if kept is None:
                kept = self._keep(f"{self._name}:{host}:{self._account}")
            self._kept[url] = self._kept[host] = kept
        self._last = kept
        return kept


def _shown(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):  # a clock of the caller's own can say anything
        return f"{seconds:g}"
