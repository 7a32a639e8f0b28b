"""How soon the laws of the walk notice that a rule of it is broken.

Each rule is broken on purpose, and each law is run until it fails. Rule: a law that notices no
break has no teeth; the figure is the number of random examples that it took, three times over, and
for the law of every small walk, which is not random, the number of walks.

    python nightly/teeth.py --examples 20000
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, seed, settings

TESTS = Path(__file__).parents[1] / "tests"
sys.path += [
    str(TESTS / "pagination"),
    str(TESTS / "support"),
    str(Path(__file__).parent / "tests"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    settings.register_profile(
        "teeth",
        max_examples=arguments.examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("teeth")

    import breaks  # noqa: PLC0415 - after the profile, which decorators read

    missed = 0
    for name, broken in breaks.BREAKS.items():
        noticed = False
        for law in breaks.LAWS:
            figures = [_examples_until(law, broken, number) for number in range(arguments.seeds)]
            noticed = noticed or all(figures)
            _show(name, law.__name__[5:], figures)
        walks = _walks_until(broken)
        _show(name, "every_small_walk_under_two_exchanges_or_three_changes", [walks])
        missed += not (noticed or walks)
    return missed


def _show(name, law, figures):
    shown = ", ".join(f"{figure:,}" if figure else "never" for figure in figures)
    print(f"{name:24} {law:75.75} {shown}", flush=True)


def _examples_until(law, broken, number):
    """The number of examples until a law fails; None if it never does."""
    import breaks  # noqa: PLC0415 - likewise

    drawn = 0
    inner = law.hypothesis.inner_test

    def counted(*arguments: object, **named: object) -> None:
        nonlocal drawn
        drawn += 1
        inner(*arguments, **named)

    with _broken(broken), patch.object(law.hypothesis, "inner_test", counted):
        try:
            seed(number)(law)(breaks.TestLaws())
        except AssertionError:
            return drawn
    return None


def _walks_until(broken):
    """The number of walks until one of them breaks the law; None if none does."""
    from every_case import Manner, Tally, every_exchange, every_walk  # noqa: PLC0415 - after the profile, too

    class Alarm(list):
        def append(self, wrong):
            raise AssertionError(wrong)

    tally = Tally(wrong=Alarm())
    with _broken(broken):
        try:
            every_walk(5, 2, Manner(2), tally, kinds=every_exchange)
            every_walk(3, 3, Manner(2), tally)
        except AssertionError:
            return tally.walks
    return None


@contextmanager
def _broken(broken):
    with ExitStack() as stack:
        for target, replacement in broken.items():
            stack.enter_context(patch(target, replacement))
        yield


if __name__ == "__main__":
    sys.exit(main())
