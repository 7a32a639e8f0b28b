"""A provider of one's own: tokens come from a token service that the company runs.

``TcbClient(CentralTokens(session, "https://tokens.example.com/wx0123456789abcdef"))``
"""

import aiohttp

from tcb_async.tokens import TokenApi


class CentralTokens:
    """Asks the service once, and again when WeChat has refused what it gave."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._token: str | None = None

    async def get_token(self, api: TokenApi) -> str:  # noqa: ARG002 - WeChat is not asked
        if self._token is None:
            async with self._session.get(self._url, raise_for_status=True) as reply:
                self._token = await reply.text()
        return self._token

    async def invalidate(self, token: str) -> None:
        if token == self._token:
            self._token = None
