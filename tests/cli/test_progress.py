"""A progress bar, on stderr at a terminal."""

import json
import re

import pytest
from terminal import ENV, Screen, env_for, start

from tcb_async.emulator import Fault


@pytest.mark.slow
async def test_a_bar_shows_progress_speed_and_retries(emulator):
    emulator.deploy(ENV, count=60)
    emulator.script([Fault.ok(), Fault.disconnect(), Fault.ok(), Fault.delay(0.6), Fault.ok()])

    async with (
        Screen.of(100) as screen,
        start(
            *("list", ENV, "--format", "json", "--page-size", "20", "--concurrency", "1"),
            env=env_for(emulator),
            stderr=screen.tty,
        ) as command,
    ):
        ended = await command.end()
        await screen.shows("60 functions in")

    assert [row["name"] for row in json.loads(ended.out)]
    assert re.search(r" 39/60 1 retry ", screen.text)
    assert "\x1b[1A\x1b[2K60 functions in" in screen.shown, "the summary takes the bar's line"
