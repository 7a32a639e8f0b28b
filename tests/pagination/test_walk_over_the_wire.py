"""The law of the walk over a real socket: the list changes under it, and the server misbehaves."""

import json
import random
from itertools import repeat

import pytest
from hand_clock import HandClock
from model import a_dozen_changes, by_reply

from tcb_async import DriftError, ResponseError, RetryPolicy, TcbClient, TcbError
from tcb_async.emulator import Emulator, Fault

ENV = "test-777bb9"
FAULTS = (
    *(Fault.errcode(code) for code in (-1, -1000, -501001, 45011)),
    Fault.status(429, headers={"Retry-After": "0"}),
    Fault.status(503, headers={"Retry-After": "-1"}),
    Fault.body(b'{"errcode":0,"errmsg":"ok","total_count":'),
    Fault.truncated(),
    Fault.disconnect(),
    Fault.reset(),
    Fault.delay(0.003),
)
"""Faults that a second attempt cures, and a delay."""


def faults(chance):
    while True:
        yield chance.choice(FAULTS) if chance.random() < 1 / 5 else Fault.ok()


@pytest.mark.parametrize(
    "seeds", [range(5), pytest.param(range(5, 15), marks=pytest.mark.slow)], ids=["some", "others"]
)
@pytest.mark.parametrize("attempts", [12, 1], ids=["retried", "resumed after each error"])
@pytest.mark.parametrize("order", ["added", "newest_first"])
async def test_rows_that_stay_are_yielded_once(order, attempts, seeds):
    complete = 0
    for seed in seeds:
        chance, clock = random.Random(seed), HandClock()
        async with Emulator(clock=clock) as emulator:
            size = chance.randrange(1, 90)
            stayed = {function.name for function in emulator.deploy(ENV, count=size)}
            due = by_reply(a_dozen_changes(chance, size))

            @emulator.on_request
            def change(request, emulator=emulator, clock=clock, due=due, stayed=stayed):
                for one in due.pop(request.number - 1, ()):
                    clock.advance(1)  # a later deployment shows in the times, of whole seconds
                    names = [function.name for function in emulator.functions(ENV)]
                    if one.kind == "insert" or not names:
                        emulator.deploy(ENV, index=one.place % (len(names) + 1))
                        continue
                    name = names[one.place % len(names)]
                    stayed.discard(name)
                    if one.kind == "update":
                        emulator.update(ENV, name)
                        continue
                    emulator.delete(ENV, name)
                    if one.kind == "redeploy":
                        emulator.deploy(ENV, name, index=one.to % len(names))

            emulator.script(faults(chance))
            walk = {"page_size": chance.randrange(4, 13), "concurrency": chance.randrange(1, 9)}
            retry = RetryPolicy(attempts=attempts, base=0.0)
            listed, error = [], TcbError("not started", cursor=None)
            async with TcbClient(emulator.token, base_url=emulator.url, retry=retry) as client:
                while error is not None and not isinstance(error, DriftError):
                    rest, error = await names_of(client.functions(ENV, resume=error.cursor, **walk))
                    listed += rest
        assert len(listed) == len({*listed}), f"twice, seed {seed}"
        assert error is not None or stayed <= {*listed}, f"lost, seed {seed}"
        complete += error is None

    assert complete >= len(seeds) - 1, "it does not give up for a dozen changes"


async def names_of(walk):
    """Walk; return the names, and the error that stopped the walk."""
    names = []
    try:
        async for function in walk:
            names.append(function.name)  # noqa: PERF401 - those before an error count
    except TcbError as error:
        return names, error
    return names, None


class TestNameThatIsTwiceInAList:
    """WeChat replies with two rows of one name, each time."""

    @pytest.fixture
    def list_twice(self, emulator):
        def list_twice(*names):
            rows = [{"name": name, "status": "Active"} for name in names]
            body = {"errcode": 0, "total_count": len(rows), "functions": rows}
            emulator.script(repeat(Fault.body(json.dumps(body).encode())))

        return list_twice

    @pytest.fixture
    async def client(self, emulator, client_of):
        return await client_of(emulator, retry=RetryPolicy(base=0.0))

    @pytest.mark.parametrize("page_size", [None, 20])
    async def test_it_is_named_after_three_more_requests(
        self, emulator, client, list_twice, page_size
    ):
        list_twice("a", "b", "a")

        with pytest.raises(ResponseError, match=r"\(a name appears twice\): 'a' ") as caught:
            await client.list_functions(ENV, page_size=page_size)

        assert len(emulator.requests) == 4
        assert (caught.value.env, caught.value.offset) == (ENV, 0)
        assert "identify" not in str(caught.value)

    async def test_one_page_shows_both_rows(self, client, list_twice):
        list_twice("a", "b", "a")

        page = await client.function_page(ENV)

        assert [function.name for function in page.items] == ["a", "b", "a"]

    @pytest.mark.parametrize(
        "name", ["x" * 200_000, "\x1b[2J\n" * 9, "{token}", "an {token}", "{token:.20}"]
    )
    async def test_its_text_is_cut_escaped_and_hidden(self, emulator, client, list_twice, name):
        name = name.format(token=emulator.token)
        list_twice(name, name)

        with pytest.raises(ResponseError, match="a name appears twice") as caught:
            await client.list_functions(ENV)

        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
        assert emulator.token[:20] not in str(caught.value)
