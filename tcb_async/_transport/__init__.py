"""The only code that uses aiohttp's client.

Rule: the modules above speak of requests and results. They know of aiohttp only the type of the
session that a caller may pass.
"""

from aiohttp import ClientSession

from tcb_async._transport.call import (
    Call,
    ClientTransport,
    call_with_place,
    call_without_place,
)
from tcb_async._transport.request import ApiRequest, Target
from tcb_async._transport.session import SessionKeeper
from tcb_async._transport.transport import Transport

__all__ = [
    "ApiRequest", "Call", "ClientSession", "ClientTransport", "SessionKeeper", "Target",
    "Transport", "call_with_place", "call_without_place",
]  # fmt: skip
