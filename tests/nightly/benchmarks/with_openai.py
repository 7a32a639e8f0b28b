"""The pages of a client that Stainless generated: openai's, pointed at the server."""

from __future__ import annotations

import contextlib
from datetime import datetime

from openai import AsyncOpenAI, BaseModel
from openai._base_client import BaseAsyncPage, BasePage, PageInfo


class Function(BaseModel):
    """A row, as such a client declares it."""

    name: str
    status: str
    runtime: str
    add_time: datetime
    mod_time: datetime


class FunctionPage(BaseAsyncPage[Function], BasePage[Function]):
    """One page by offset, as such a client declares it."""

    total_count: int
    functions: list[Function]

    def _get_page_items(self):
        return self.functions

    def next_page_info(self):
        """Where the next page begins."""
        end = self._options.json_data["offset"] + len(self.functions)
        return PageInfo(json={"offset": end}) if end < self.total_count else None


@contextlib.asynccontextmanager
async def walk(asked):
    """Iterate, as every client of this kind does: one page after the other."""
    async with AsyncOpenAI(api_key="none", base_url=asked.base_url) as client:
        yield client.get_api_list(
            asked.path,
            model=Function,
            page=FunctionPage,
            body=asked.body(0),
            options={"params": asked.query},
            method="post",
        )
