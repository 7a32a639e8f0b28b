"""A peer that replies in virtual time, for schedules of many calls (mark `looptime`)."""

import asyncio
import random

import attrs

from tcb_async import ClientClosedError, RetryPolicy, TransportError
from tcb_async._transport import (
    ApiRequest,
    Attempts,
    Place,
    SessionKeeper,
    Timing,
    Transport,
    make_target,
)


class NoSession(SessionKeeper):
    """Makes no session."""

    def get_session(self):
        if self.is_closed:
            raise ClientClosedError


@attrs.define(eq=False)
class VirtualPeer(Transport):
    """A transport without a network, to a peer whose ``reply(number)`` takes its time."""

    reply: object = attrs.field(kw_only=True)
    attempts: list = attrs.Factory(list)
    """The time of each."""

    async def send(self, request, _observed):
        self.keeper.get_session()
        self.attempts.append(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(self.timeout):
                await asyncio.sleep(0.01)  # on its way: a burst is sent before its first failure
                await self.reply(request.offset)
        except TimeoutError:
            raise TransportError("no reply") from None
        return b""

    async def count_free_places(self):
        free = 0
        while not self.places.locked():
            await self.places.acquire()
            free += 1
        for _ in range(free):
            self.places.release()
        return free

    async def call(self, number=None, path="/"):
        """Make a call; ``reply`` gets its number."""
        request = ApiRequest(make_target(self.base_url, path, {}), None, offset=number)

        async def call_in_place():
            async with Place(self):
                return await Attempts(self, request, bytes).run()

        return await self.until_closed(call_in_place)


def make_peer(reply, *, concurrency=8, **settings):
    """Make a peer; ``reply`` is a coroutine function, ``settings`` are those of the policy."""
    return VirtualPeer(
        "http://127.0.0.1:9",
        concurrency,
        RetryPolicy(**settings),
        keeper=NoSession(),
        timing=Timing(clock=asyncio.get_running_loop().time, random=random.Random(7).random),
        reply=reply,
    )
