"""What was handed out is known again, at a few bytes an id."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from tcb_async.pagination.seen import Seen

MANY = 20_000


def hashes(names: list[str]) -> list[int]:
    return [hash(name) for name in names]


def seen_of(names: list[str]) -> Seen:
    seen = Seen()
    for start in range(0, len(names), 100):
        seen.remember(hashes(names[start : start + 100]))
    return seen


def names(count: int, prefix: str = "f") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_every_id_is_known_again_however_long_ago_it_was() -> None:
    seen = seen_of(names(MANY))

    assert len(seen) == MANY
    for start in range(0, MANY, 500):
        asked = names(MANY)[start : start + 50]
        assert seen.known(hashes([*asked, f"new{start}"])) == set(hashes(asked))


def test_what_is_remembered_between_questions_is_known_too() -> None:
    seen = seen_of(names(MANY))
    for number in range(60):
        seen.known(hashes(names(20)))
        seen.remember(hashes(names(500, f"later{number}-")))

    remembered = hashes(["later0-0", "later30-499", "f7"])
    assert seen.known([*remembered, hash("other")]) == set(remembered)


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 30), max_size=8))))
def test_it_knows_what_a_set_would_know(steps: list[tuple[bool, list[int]]]) -> None:
    seen = Seen()
    model: set[int] = set()
    for asks, page in steps:
        if asks:
            assert seen.known(page) == model & set(page)
        new = [name for name in dict.fromkeys(page) if name not in model]
        seen.remember(new)
        model.update(new)

    assert len(seen) == len(model)


def test_a_page_is_quiet_unless_it_repeats_an_id_or_brings_back_one_of_the_first() -> None:
    seen = seen_of(names(MANY))

    assert seen.is_quiet(hashes(names(100, "new")))
    assert not seen.is_quiet(hashes(["new1", "f511"]))
    assert not seen.is_quiet(hashes(["new1", "new2", "new1"]))


def test_an_id_costs_less_than_ten_bytes() -> None:
    seen = seen_of(names(1000))
    tracemalloc.start()
    for number in range(1000):
        seen.remember(hashes([f"{number}-{place}" for place in range(100)]))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(seen) == 101_000
    assert size < 100_000 * 10
