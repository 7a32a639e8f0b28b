"""A provider of your own: tokens come from a token service that your company runs.

    python central_tokens.py https://tokens.example.com/wx0123456789abcdef test-777bb9

To try it without an account, paste the lines that ``tcb-async emulator`` prints, and use a file as
the token service: ``echo $TCB_ACCESS_TOKEN > token``, ``python -m http.server 8100``, and pass
``http://127.0.0.1:8100/token``.
"""

import asyncio
import sys

import aiohttp

from tcb_async import TcbClient
from tcb_async.tokens import TokenApi


class CentralTokens:
    """Caches the service's token until WeChat refuses it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._token: str | None = None

    async def get_token(self, api: TokenApi) -> str:  # noqa: ARG002 - not fetched from WeChat
        if self._token is None:
            async with self._session.get(self._url, raise_for_status=True) as reply:
                self._token = (await reply.text()).strip()
        return self._token

    async def invalidate(self, token: str) -> None:
        if token == self._token:
            self._token = None


async def main(url: str, env: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        TcbClient.from_env(token=CentralTokens(session, url)) as client,
    ):
        print((await client.function_page(env)).total, "functions")


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - the program and its two arguments
        sys.exit("usage: central_tokens.py URL ENV")
    asyncio.run(main(sys.argv[1], sys.argv[2]))
