"""A platform with merchants, as the tests of inventories need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcb_async import Account, TcbClient
from tcb_async.tokens import AuthorizerToken, ComponentToken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcb_async import CloudFunction, RetryPolicy
    from tcb_async.emulator import Emulator
    from tcb_async.observer import Observer

__all__ = [
    "ENVIRONMENTS",
    "LIST",
    "MERCHANT_TOKEN",
    "PLATFORM",
    "PLATFORM_SECRET",
    "PLATFORM_TOKEN",
    "Platform",
    "as_deployed",
]

PLATFORM, PLATFORM_SECRET = "wxplatform000000001", "planted-appsecret-0123456789abcdef"
PLATFORM_TOKEN = "/cgi-bin/component/api_component_token"
MERCHANT_TOKEN = "/cgi-bin/component/api_authorizer_token"
ENVIRONMENTS = "/tcb/getenvinfo"
LIST = "/tcb/listfunctions"


class Platform:
    """A platform on an emulator.

    Attributes:
        appids: Of its merchants.
        rotated: What `on_rotate` was given.
    """

    def __init__(
        self,
        emulator: Emulator,
        merchants: int = 0,
        *,
        environments: int = 1,
        functions: int = 50,
    ) -> None:
        self.emulator = emulator
        self.ticket = emulator.add_component(PLATFORM, PLATFORM_SECRET)
        self.appids = list(
            emulator.add_merchants(
                PLATFORM, merchants, environments=environments, functions=functions
            )
        )
        self.rotated: list[str] = []
        self.asked_for = 0

    def token(self) -> ComponentToken:
        async def ticket() -> str:
            return self.ticket

        return ComponentToken(PLATFORM, PLATFORM_SECRET, ticket=ticket)

    def client(
        self,
        *,
        concurrency: int = 8,
        retry: RetryPolicy | None = None,
        observer: Observer | None = None,
    ) -> TcbClient:
        self.component = self.token()
        options = {} if retry is None else {"retry": retry}
        return TcbClient(
            self.component,
            base_url=self.emulator.url,
            concurrency=concurrency,
            observer=observer,
            **options,
        )

    def account(self, appid: str) -> Account:
        async def on_rotate(refresh_token: str) -> None:
            self.rotated.append(refresh_token)

        refresh_token = (
            self.emulator.refresh_token(PLATFORM, appid)
            if appid in self.emulator.authorizers(PLATFORM)
            else "refreshtoken-of-nobody"
        )
        token = AuthorizerToken(self.component, appid, refresh_token, on_rotate=on_rotate)
        return Account(appid, token)

    def accounts(self) -> Iterator[Account]:
        for appid in self.appids:
            self.asked_for += 1
            yield self.account(appid)

    def deployed(self, appid: str) -> dict[str, set[tuple[str, str, str | None]]]:
        """What WeChat has of a merchant."""
        return {
            info.env: {
                (row.name, row.status, row.runtime) for row in self.emulator.functions(info.env)
            }
            for info in self.emulator.environments(appid)
        }


def as_deployed(
    functions: dict[str, tuple[CloudFunction, ...]],
) -> dict[str, set[tuple[str, str, str | None]]]:
    """What an inventory found, to be compared with what is deployed."""
    return {
        env: {(function.name, function.status, function.runtime) for function in found}
        for env, found in functions.items()
    }
