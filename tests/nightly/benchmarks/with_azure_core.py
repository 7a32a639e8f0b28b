"""azure-core's `AsyncItemPaged` over its own client and transport, as in its SDKs."""

from __future__ import annotations

import contextlib
from functools import partial

from azure.core import AsyncPipelineClient
from azure.core.async_paging import AsyncItemPaged, AsyncList
from azure.core.pipeline import policies
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest

# The policies of the clients that Azure generates, in their order.
_AZURE = (
    policies.RequestIdPolicy,
    policies.HeadersPolicy,
    partial(policies.UserAgentPolicy, sdk_moniker="bench/1"),
    policies.ProxyPolicy,
    policies.ContentDecodePolicy,
    policies.AsyncRedirectPolicy,
    policies.AsyncRetryPolicy,
    policies.CustomHookPolicy,
    policies.NetworkTraceLoggingPolicy,
    policies.DistributedTracingPolicy,
    policies.HttpLoggingPolicy,
)


@contextlib.asynccontextmanager
async def walk(asked):
    """Iterate over its functions, one page after the other."""
    async with AsyncPipelineClient(
        asked.base_url, policies=[make() for make in _AZURE], transport=AioHttpTransport()
    ) as client:

        async def get_next(offset):
            body = asked.body(offset or 0)
            request = HttpRequest("POST", asked.url, params=asked.query, json=body)
            reply = await client.send_request(request)
            reply.raise_for_status()
            return body["offset"], reply.json()

        async def extract(page):
            offset, reply = page
            end = offset + len(reply["functions"])
            return (end if end < reply["total_count"] else None), AsyncList(reply["functions"])

        yield AsyncItemPaged(get_next, extract)
