"""The generated functions: of the demo, and of thousands of merchants."""

from collections import Counter

import pytest
from constants import PLATFORM

from tcb_async.emulator import DEMO_ENV, Emulator


async def test_demo_is_believable_and_the_same_every_time():
    first, second = Emulator.demo(), Emulator.demo()
    functions = first.functions(DEMO_ENV)
    assert functions == second.functions(DEMO_ENV)
    assert first.environments() == second.environments()
    assert len(functions) == 48
    assert len({function.status for function in functions}) >= 5
    assert all(function.add_time <= function.mod_time for function in functions)
    # The pages of the documentation show them.
    assert Counter(function.runtime for function in functions) == {
        "Nodejs16.13": 25,
        "Nodejs18.15": 11,
        "Python3.10": 5,
        "Nodejs8.9": 4,
        "Php8.0": 2,
        "Go1": 1,
    }
    assert functions[-1].add_time == "2024-08-26 15:39:37"
    assert functions[-1].mod_time == "2024-12-05 17:18:22"
    assert first.latency > 0


async def test_merchants_environments_change_like_any_other(wechat):
    emulator = wechat.emulator
    first, second = emulator.add_merchants(PLATFORM, 2, functions=400)
    (env,), (other,) = emulator.environments(first), emulator.environments(second)
    untouched = emulator.functions(other.env)
    assert len({row.name for row in untouched}) == 400
    row = emulator.functions(env.env)[7]
    emulator.update(env.env, row.name, status="Updating")
    emulator.delete(env.env, emulator.functions(env.env)[0].name)
    emulator.deploy(env.env, "mine")
    with pytest.raises(ValueError, match="deployed to"):
        emulator.deploy(env.env, row.name)
    assert emulator.functions(env.env)[6].status == "Updating"
    assert emulator.functions(env.env)[-1].name == "mine"
    assert emulator.functions(other.env) == untouched
