"""What was handed out is known again, at a few bytes an id."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from tcb_async.pagination.seen import Seen

MANY = 20_000


def seen_of(names: list[str]) -> Seen:
    seen = Seen()
    for start in range(0, len(names), 100):
        assert seen.admit(names[start : start + 100])
    return seen


def names(count: int, prefix: str = "f") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_every_id_is_known_again_however_long_ago_it_was() -> None:
    seen = seen_of(names(MANY))

    assert len(seen) == MANY
    for start in range(0, MANY, 500):
        asked = names(MANY)[start : start + 50]
        assert seen.known([*asked, f"new{start}"]) == set(asked)


def test_what_is_added_between_questions_is_known_too() -> None:
    seen = seen_of(names(MANY))
    for number in range(60):
        seen.known(names(20))
        seen.add(names(500, f"later{number}-"))

    assert seen.known(["later0-0", "later30-499", "f7", "other"]) == {
        "later0-0",
        "later30-499",
        "f7",
    }


@given(st.lists(st.lists(st.integers(0, 30).map(str), max_size=8), max_size=12))
def test_an_id_is_admitted_once_and_a_page_wholly_or_not_at_all(pages: list[list[str]]) -> None:
    seen = Seen()
    admitted: set[str] = set()
    for page in pages:
        new = len(set(page)) == len(page) and admitted.isdisjoint(page)
        assert seen.admit(page) is new
        if new:
            admitted.update(page)
        assert seen.known(page) == admitted & set(page)


def test_an_id_of_long_ago_costs_less_than_sixteen_bytes() -> None:
    seen = Seen()
    window = 4096
    sizes = []
    tracemalloc.start()
    for number in range(20):
        for start in range(0, window, 64):
            seen.admit([f"{number}-{start + place}" for place in range(64)])
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert len(seen) == 20 * window
    assert sizes[19] - sizes[4] < 15 * window * 16
