"""The only code that uses aiohttp's client.

Rule: the modules above speak of requests and results. They know of aiohttp only the type of the
session that a caller may pass.
"""

from aiohttp import ClientSession

from tcb_async._transport.call import (
    Attempts,
    Place,
    Timing,
    Transport,
    allow_without_place,
)
from tcb_async._transport.request import (
    ApiRequest,
    make_page_target,
    make_target,
)
from tcb_async._transport.session import SessionKeeper

__all__ = [
    "ApiRequest", "Attempts", "ClientSession", "Place", "SessionKeeper",
    "Timing", "Transport", "allow_without_place",
    "make_page_target", "make_target",
]  # fmt: skip
