"""One walk over the functions of an environment, by function or by page.

Rule: the walk itself is `pagination`'s; here it gets WeChat's words, and whoever watches is told.
"""

from __future__ import annotations

import sys

from tcb_async.models import CloudFunction
from tcb_async.observer import WatchedFetch
from tcb_async.pagination.pager import Pager

__all__ = ["FunctionPager"]


class FunctionPager(Pager[CloudFunction]):
    """One walk over the functions of an environment: see `TcbClient.functions`."""

    async def _leave(self) -> None:
        await super()._leave()
        fetch: object = self._fetch
        if isinstance(fetch, WatchedFetch):
            error = None if self._state == "done" else sys.exception()
            fetch.ended(self.stats, error if isinstance(error, Exception) else None)
