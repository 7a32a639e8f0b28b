"""A platform with merchants, as the tests of inventories need it."""

from constants import APPSECRET, PLATFORM

from tcb_async import Account, TcbClient
from tcb_async.inventory import Inventory
from tcb_async.tokens import AuthorizerToken, ComponentToken


class Platform:
    """A platform on an emulator.

    Attributes:
        appids: The appids of its merchants.
        taken: The number of accounts taken from `accounts`.
    """

    def __init__(self, emulator, merchants=0, *, environments=1, functions=50):
        self.emulator = emulator
        self.ticket = emulator.add_component(PLATFORM, APPSECRET)
        self.appids = list(
            emulator.add_merchants(
                PLATFORM, merchants, environments=environments, functions=functions
            )
        )
        self.taken = 0

    def token(self):
        async def ticket():
            return self.ticket

        return ComponentToken(PLATFORM, APPSECRET, ticket=ticket)

    def client(self, **options):
        self.component = self.token()
        return TcbClient(self.component, base_url=self.emulator.url, **options)

    def account(self, appid):
        async def on_rotate(_refresh_token): ...

        refresh_token = (
            self.emulator.refresh_token(PLATFORM, appid)
            if appid in self.emulator.authorizers(PLATFORM)
            else "refreshtoken-of-nobody"
        )
        token = AuthorizerToken(self.component, appid, refresh_token, on_rotate=on_rotate)
        return Account(appid, token)

    def accounts(self):
        for appid in self.appids:
            self.taken += 1
            yield self.account(appid)

    def deployed(self, appid):
        """A merchant's state at WeChat."""
        return {
            info.env: {
                (row.name, row.status, row.runtime) for row in self.emulator.functions(info.env)
            }
            for info in self.emulator.environments(appid)
        }


async def found_in(client, accounts):
    """Return the listing of each account, by its appid."""
    async with Inventory(client, accounts) as inventory:
        return {found.account.appid: found async for found in inventory}
