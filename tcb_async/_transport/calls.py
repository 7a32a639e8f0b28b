"""The tries that make up a call: each with a permit of the window, watched and logged.

Rule: a successful first try makes nothing that it does not need.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async._redact import forgetting_frames
from tcb_async.exceptions import ApiError, TcbError, TransportError
from tcb_async.retry import OutOfTimeError, is_overload

if TYPE_CHECKING:
    from collections.abc import Callable

    from tcb_async._transport.requests import ApiRequest
    from tcb_async._transport.transport import Transport
    from tcb_async.retry import Deadline

__all__ = ["Call"]

Result = TypeVar("Result")

_log = logging.getLogger("tcb_async")
_log.addHandler(logging.NullHandler())


@attrs.define
class Call(Generic[Result]):
    """The tries of one call.

    Attributes:
        alone: Whether the next try is to have a new connection, for the last was dropped.
    """

    transport: Transport
    request: ApiRequest
    decode: Callable[[bytes], Result]
    alone: bool = False

    async def attempt(self, number: int, deadline: Deadline) -> Result:
        """Make one try, with a permit of the window.

        Raises:
            OutOfTimeError: There was no permit before the deadline.
            TcbError: The try failed.
        """
        transport, request, window = self.transport, self.request, self.transport.window
        epoch = window.take()
        if epoch is None:
            transport.session()  # fail before waiting for a permit
            epoch = await window.wait(deadline.left())
        if epoch is None:
            raise OutOfTimeError(self._nothing_was_sent())
        clean = overload = False
        try:
            session = transport.session()
            left = deadline.left()
            if left <= 0:
                raise OutOfTimeError(self._nothing_was_sent())
            transport.sent += 1
            transport.retried += number > 1
            # The frames below hold the URL, the body that is sent, and the reply.
            if transport.observer is None:
                with forgetting_frames():
                    result = self.decode(await transport.send(session, request, left, self.alone))
            else:
                seen = transport.as_seen(request, number)
                with transport.observer.attempting(seen), forgetting_frames():
                    result = self.decode(
                        await transport.send(session, request, left, self.alone, seen)
                    )
            clean = True
        except TcbError as error:
            overload = is_overload(error)
            self.alone = number == 1 and isinstance(error, TransportError) and error.dropped
            error.env, error.offset = request.env, request.offset
            _log.debug("%s try=%d: %s", request, number, _outcome(error))
            raise
        finally:
            window.release(epoch, clean=clean, overloaded=overload)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s try=%d: errcode=0", request, number)
        return result

    def note_retry(self, error: TcbError, number: int, seconds: float) -> None:
        """Count a retry, and log it."""
        level = logging.INFO if number == 1 else logging.WARNING
        text = "%s try=%d failed (%s), trying again in %.2f s"
        _log.log(level, text, self.request, number, _outcome(error), seconds)
        if self.request.count is not None:
            self.request.count.retries += 1

    def _nothing_was_sent(self) -> TransportError:
        path, window = self.request.target.path, self.transport.window
        return TransportError(
            f"{path}: nothing was sent, because {window.in_flight} other requests of this client "
            "were in flight until the deadline; make fewer calls at once, or allow more time",
            endpoint=path,
            env=self.request.env,
            offset=self.request.offset,
        )


def _outcome(error: TcbError) -> str:
    if isinstance(error, ApiError):
        return f"errcode={error.errcode} rid={error.rid}"
    return type(error).__name__
