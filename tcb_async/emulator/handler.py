"""The handling of requests: a record, callbacks, and a fault or the reply of an endpoint.

Rule: while the lock is held, nothing is awaited, and of the test's own code only scripts run.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import attrs
from aiohttp import web

from tcb_async.emulator.endpoints import Endpoints, EndpointSettings
from tcb_async.emulator.faults import EncodedReply, Exchange, Fault, Script, take_fault
from tcb_async.emulator.journal import Journal, RecordedRequest
from tcb_async.emulator.state import World
from tcb_async.emulator.wire import (
    ERRMSG,
    NOT_EMULATED,
    ReceivedCall,
    RefusalCode,
    Refused,
    decode_object,
    encode_reply,
    has_request_id,
    token_id,
)

OnRequest = Callable[[RecordedRequest], None]
OnReply = Callable[[RecordedRequest, dict[str, Any]], None]

_log = logging.getLogger("tcb_async.emulator")
_log.addHandler(logging.NullHandler())
_MAX_RECORDS = 10_000
_NO_FAULT = Fault.ok()
_BUSY_FAULT = Fault.errcode(RefusalCode.BUSY)
_UNREADABLE = b"(a body that was too long or could not be decoded)"


class HandlerSettings(EndpointSettings, Protocol):
    """The settings of an ``Emulator``, which documents them; they may change at any time."""

    latency: float
    jitter: float
    capacity: int | None
    busy_rate: float


class Handler:
    """Replies to requests as WeChat does, unless a script or a callback says otherwise.

    Its public lists and its journal are the emulator's, which changes them under the lock.
    """

    def __init__(self, world: World, settings: HandlerSettings, lock: threading.RLock) -> None:
        self.scripts: list[Script] = []
        self.on_request: list[OnRequest] = []
        self.on_reply: list[OnReply] = []
        self.journal: Journal = Journal(_MAX_RECORDS)
        self._world = world
        self._settings = settings
        self._lock = lock
        self._endpoints = Endpoints(world, settings)
        self._random = random.Random(0)  # noqa: S311 - jitter, faults and ids; no secrets

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle one request, and record it."""
        raw = await _read_body(request)
        call = ReceivedCall(request.method, request.path, request.query, raw, decode_object(raw))
        record = self._begin(request, call)
        exchange = Exchange(
            request,
            lambda: self._change(record, self._call_endpoint(call)),
            lambda errcode, errmsg: self._change(record, self._refuse(call, errcode, errmsg)),
        )
        response: web.StreamResponse | None = None
        try:
            # Iterates over a copy, because a callback may add callbacks.
            for callback in tuple(self.on_request):
                callback(record)
            response = await self._reply(exchange, record)
        except ConnectionError:
            pass  # The client has closed the connection: the record shows no status.
        finally:
            self._finish(record, exchange, response)
        return web.Response() if response is None else response

    async def _reply(self, exchange: Exchange, record: RecordedRequest) -> web.StreamResponse:
        if record.path not in self._endpoints.by_path:
            return exchange.send(exchange.refuse(RefusalCode.BAD_URL, NOT_EMULATED))
        capacity = self._settings.capacity
        # This request is one of those in flight.
        if capacity is not None and self.journal.in_flight > capacity:
            return exchange.send(exchange.refuse(RefusalCode.BUSY, None))
        # The fault is chosen before the delay, so that scripts are used up in order of arrival.
        with self._lock:
            fault = take_fault(self.scripts, record) or self._choose_fault()
            seconds = self._settings.latency + self._settings.jitter * self._random.random()
        exchange.fault = None if fault.name == "ok" else fault.name
        if seconds:
            await asyncio.sleep(seconds)
        return await fault.act(exchange)

    def _choose_fault(self) -> Fault:
        is_busy = self._random.random() < self._settings.busy_rate
        return _BUSY_FAULT if is_busy else _NO_FAULT

    def _call_endpoint(self, call: ReceivedCall) -> EncodedReply:
        with self._lock:
            try:
                return EncodedReply(0, self._endpoints.by_path[call.path](call))
            except Refused as refused:
                return self._make_refusal(refused.errcode, refused.errmsg)

    def _refuse(self, call: ReceivedCall, errcode: int, errmsg: str | None) -> EncodedReply:
        with self._lock:
            # Otherwise the client would get the same token again, and later requests accept it.
            self._world.tokens.invalidate(call.token or "", errcode)
            return self._make_refusal(errcode, errmsg)

    def _change(self, record: RecordedRequest, reply: EncodedReply) -> EncodedReply:
        if not self.on_reply:
            return reply
        fields: dict[str, Any] = decode_object(reply.body) or {}
        for callback in tuple(self.on_reply):
            callback(record, fields)
        return EncodedReply(fields.get("errcode", 0), encode_reply(**fields))

    def _make_refusal(self, errcode: int, errmsg: str | None) -> EncodedReply:
        if errmsg is None:
            errmsg = ERRMSG.get(errcode, "error")
        if not has_request_id(errmsg):
            seconds = int(self._world.clock())
            first = self._random.getrandbits(32)
            second = self._random.getrandbits(32)
            errmsg += f" rid: {seconds:08x}-{first:08x}-{second:08x}"
        # A plain number, because the record of the request shows it.
        errcode = int(errcode)
        return EncodedReply(errcode, encode_reply(errcode=errcode, errmsg=errmsg))

    def _begin(self, request: web.BaseRequest, call: ReceivedCall) -> RecordedRequest:
        peer = None if request.transport is None else request.transport.get_extra_info("peername")
        with self._lock:
            record = RecordedRequest(
                number=self.journal.total + 1,
                method=call.method,
                path=call.path,
                token_id=None if call.token is None else token_id(call.token),
                account=self._endpoints.guess_account(call),
                body=call.body,
                raw=call.raw,
                headers=request.headers,
                peer_port=0 if peer is None else peer[1],
                started=self._world.clock(),
            )
            self.journal.begin(record)
        return record

    def _finish(
        self, record: RecordedRequest, exchange: Exchange, response: web.StreamResponse | None
    ) -> None:
        # A client that closed the connection got no reply, even if bytes were written.
        transport = exchange.request.transport
        is_closed = transport is None or transport.is_closing()
        finished = attrs.evolve(
            record,
            finished=self._world.clock(),
            status=None if is_closed or response is None else response.status,
            errcode=exchange.errcode,
            fault=exchange.fault,
        )
        with self._lock:
            self.journal.finish(finished)
        _log.info(
            "%s %s -> status %s, errcode %s, fault %s",
            finished.method,
            quote(finished.path),  # so that a line break in the path begins no new line
            finished.status,
            finished.errcode,
            finished.fault,
        )


async def _read_body(request: web.BaseRequest) -> bytes:
    try:
        return await request.read()
    except (web.HTTPRequestEntityTooLarge, web.RequestPayloadError):
        return _UNREADABLE
