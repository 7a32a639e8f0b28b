"""A field of a function is in every list of fields: a new one fails here, with the place's name."""

from datetime import UTC, datetime
from typing import get_args, get_type_hints

import attrs
import pytest
from nights import stored

from tcb_async import Account, AccountListing, CloudFunction, changes
from tcb_async.cli import formats, inventory, selection
from tcb_async.compare import FIELDS, compare
from tcb_async.inventory import InventoryStore

NAMES = [field.name for field in attrs.fields(CloudFunction)]
COMPARED = NAMES[1:]  # two functions are compared by their name
ENV, DAYS = "test-777bb9", ("2026-11-24", "2026-11-25")
PLACES = {
    "compare.Field": (FIELDS, COMPARED),
    "cli/formats.Field": (formats.FIELDS, NAMES),
    "cli/selection.Sort": (get_args(selection.Sort), [*NAMES, *(f"-{name}" for name in NAMES)]),
    "cli/inventory._COLUMNS": (inventory._COLUMNS[2:-3], NAMES),
}


def value_of(name, number):
    """A value of the right type, which differs for each number."""
    hint = get_type_hints(CloudFunction)[name]
    is_time = datetime in (hint, *get_args(hint))
    return datetime(2026, 1, number, tzinfo=UTC) if is_time else f"{name} {number}"


def function(number, *, other=()):
    return CloudFunction(**{name: value_of(name, number + (name in other)) for name in NAMES})


def listing(*functions):
    return AccountListing(Account("wxshop", "a-token"), {ENV: functions})


@pytest.mark.parametrize("place", PLACES)
def test_a_list_has_every_field(place):
    listed, expected = PLACES[place]
    assert list(listed) == expected


def test_a_store_and_its_view_have_every_field(tmp_path):
    """inventory/schema.sql: functions, current; inventory/store.py: save, complete_accounts."""
    path = stored(tmp_path / "i.sqlite", listing(function(1)))
    with InventoryStore(path) as store:
        (account,) = store.complete_accounts()
        (row,) = store.functions()

    assert account.functions == {ENV: (function(1),)}
    assert [name for name in row if name in NAMES] == NAMES


@pytest.mark.parametrize("name", COMPARED)
def test_a_change_of_one_field_is_a_change(tmp_path, name):
    """inventory/schema.sql: changes; inventory/store.py: save, changes; compare.compare."""
    before, after = function(1), function(1, other=(name,))
    stored(tmp_path / "i.sqlite", listing(before), day=DAYS[0])
    path = stored(tmp_path / "i.sqlite", listing(after), day=DAYS[1])
    with InventoryStore(path) as store:
        (change,) = store.changes()

    assert (change.before, change.after) == (before, after)
    assert len(changes([before], [after])) == len(compare([before], [after], times=True)) == 1
