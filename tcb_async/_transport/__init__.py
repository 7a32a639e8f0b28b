"""The only aiohttp client code.

Rule: everything above speaks of requests and results; nothing above knows aiohttp.
"""

from tcb_async._transport.request import ApiRequest, Target
from tcb_async._transport.transport import Transport

__all__ = ["ApiRequest", "Target", "Transport"]
