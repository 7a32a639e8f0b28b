"""Sends a request once.

Rule: time and size are limited, and redirects are refused. The size of a reply is limited while it
is read. Errors of aiohttp become ours, and are not chained to them: they may contain the URL with
the token.
"""

# ruff: noqa: ASYNC109 - an attempt has its own time limit, whose errors are translated here
from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable
from http import HTTPStatus

import aiohttp

from tcb_async._transport.request import ApiRequest
from tcb_async._transport.session import HEADERS, SessionKeeper, add_query
from tcb_async._transport.translation import make_status_error, translate
from tcb_async.exceptions import ClientClosedError, ResponseError, TcbError
from tcb_async.observer import Attempt

MAX_REPLY_BYTES = 8 * 2**20
"""The largest reply that is read, counted after decompression."""

# An attempt has one timer, ours. aiohttp's would be a second one, and rounds a limit above 5 s up
# to a whole second.
_NO_LIMIT = aiohttp.ClientTimeout()
_LARGE = 2**20  # bytes: aiohttp warns about a larger body that it cannot send in parts


async def send(
    keeper: SessionKeeper, request: ApiRequest, timeout: float, observed: Attempt | None
) -> bytes:
    """Send a request once, and return the body of a reply with HTTP 200.

    ``timeout`` is in seconds, to the last byte. ``observed`` gets the status of any reply.

    Raises:
        TcbError: In any other case.
    """
    session = keeper.get_session()
    response: aiohttp.ClientResponse | None = None
    try:
        async with asyncio.timeout(timeout):
            response = await _request(keeper, session, request)
            if observed is not None:
                observed.status = response.status
            return await _read(response, request)
    except TcbError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - the edge: any error that a peer causes becomes ours
        if observed is not None and isinstance(error, aiohttp.ClientHttpProxyError):
            observed.status = error.status
        if session.closed:
            text = "the session of this client was closed: make a new client"
            failure = ClientClosedError(text)
        else:
            may_use_proxy = keeper.trust_env or keeper.is_callers_session
            failure = translate(error, request, timeout, may_use_proxy=may_use_proxy)
    except BaseException as error:
        # A cancellation: its frames in aiohttp have the URL and the body, with their secrets.
        error.__traceback__ = None
        raise
    finally:
        if response is not None:
            response.close()  # and its connection, if there is more to read
    # After the block: there, its context would be aiohttp's error.
    try:
        raise failure
    finally:
        del failure  # a cycle with this frame


def _request(
    keeper: SessionKeeper, session: aiohttp.ClientSession, request: ApiRequest
) -> Awaitable[aiohttp.ClientResponse]:
    target = request.target
    is_callers_session = keeper.is_callers_session
    body = request.body
    return session.request(
        request.method,
        target.url if is_callers_session else target.bare_url,
        # In our session, tools that record requests see no query, and so no token.
        middlewares=None if is_callers_session else (add_query(target.url),),
        data=io.BytesIO(body) if body is not None and len(body) > _LARGE else body,
        # A new object for each request: Elastic's agent writes into it.
        headers=dict(HEADERS) if is_callers_session else None,
        timeout=_NO_LIMIT,
        allow_redirects=False,  # a redirect to a different host would take the secrets along
        raise_for_status=False,
    )


async def _read(response: aiohttp.ClientResponse, request: ApiRequest) -> bytes:
    """Return a body that is not too large; raise the error for a status other than 200."""
    # Read it in chunks: `read` would inflate a whole bomb before its size can be checked.
    content = response.content
    chunks: list[bytes] = []
    bytes_left = MAX_REPLY_BYTES
    while not content.at_eof():
        chunk = await content.readany()
        bytes_left -= len(chunk)
        if bytes_left < 0:
            if response.status != HTTPStatus.OK:
                break  # the status says more
            path = request.target.path
            raise ResponseError(
                f"{path} sent more than {MAX_REPLY_BYTES} bytes; request fewer rows",
                endpoint=path,
                status=response.status,
            )
        chunks.append(chunk)
    body = b"".join(chunks)
    if response.status != HTTPStatus.OK:
        raise make_status_error(request, response.status, response.headers, body)
    return body
