"""One walk over the functions of an environment, by function or by page.

Rule: the walk itself is `pagination`'s; here it gets WeChat's words, and whoever watches is told.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tcb_async.models import CloudFunction, FunctionPage
from tcb_async.observer import WatchedFetch
from tcb_async.pagination.pager import Pager

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tcb_async.pagination.page import Page

__all__ = ["FunctionPager", "function_pages"]


class FunctionPager(Pager[CloudFunction]):
    """One walk over the functions of an environment: see `TcbClient.functions`."""

    async def _leave(self) -> None:
        await super()._leave()
        fetch: object = self._fetch
        if isinstance(fetch, WatchedFetch):
            error = None if self._state == "done" else sys.exception()
            fetch.ended(self.stats, error if isinstance(error, Exception) else None)


async def function_pages(
    pages: AsyncGenerator[Page[CloudFunction], None], page_size: int
) -> AsyncGenerator[FunctionPage, None]:
    """Give the pages of a walk as WeChat's words have them."""
    try:
        async for page in pages:
            yield FunctionPage(tuple(page.items), page.total, page.offset, page_size)
    finally:
        await pages.aclose()
