"""A field is declared in `CloudFunction` and named in `_fields`: everything else follows."""

from datetime import UTC, datetime
from typing import get_args

import attrs
import pytest
from nights import stored

from tcb_async import Account, AccountListing, CloudFunction, changes
from tcb_async._fields import Field
from tcb_async.cli.formats import FIELDS, format_rows
from tcb_async.compare import compare, parse_export
from tcb_async.inventory import Night, compare_nights

NAMES = [field.name for field in attrs.fields(CloudFunction)]
COMPARED = NAMES[1:]  # two functions are compared by their name
ENV = "test-777bb9"


def value_of(name, number):
    """A value of the right type, which differs for each number."""
    if name.endswith("_time"):
        return datetime(2026, 1, number, tzinfo=UTC)
    return f"{name} {number}"


def function(number, *, other=()):
    return CloudFunction(**{name: value_of(name, number + (name in other)) for name in NAMES})


def listing(*functions):
    return AccountListing(Account("wxshop", "a-token"), {ENV: functions})


def test_the_names_are_those_of_the_class():
    assert list(get_args(Field)) == NAMES


def test_an_export_is_read_with_every_field():
    document = format_rows([function(1)], FIELDS, "json", is_escaped=False)
    assert parse_export(document, "all.json") == [function(1)]


def test_a_night_has_every_field(tmp_path):
    with Night(stored(tmp_path / "i.sqlite", listing(function(1)))) as night:
        (account,) = night.accounts()
    assert account.functions == {ENV: (function(1),)}


@pytest.mark.parametrize("name", COMPARED)
def test_a_change_of_one_field_is_a_change(tmp_path, name):
    before, after = function(1), function(1, other=(name,))
    first = stored(tmp_path / "1.sqlite", listing(before))
    second = stored(tmp_path / "2.sqlite", listing(after))
    with Night(first) as one, Night(second) as two:
        (account,) = compare_nights([one, two])

    ((change,),) = account.changes.values()
    assert (change.before, change.after) == (before, after)
    assert len(changes([before], [after])) == len(compare([before], [after], times=True)) == 1
