"""Every field of `CloudFunction` is known to options, exports, nights and comparisons."""

from datetime import UTC, datetime
from typing import get_args, get_type_hints

import attrs
import pytest
from nights import stored

from tcb_async import Account, AccountListing, CloudFunction, changes
from tcb_async.cli.formats import FIELDS, format_rows
from tcb_async.documents import read_functions
from tcb_async.inventory import Night

NAMES = [field.name for field in attrs.fields(CloudFunction)]


def function(**changed):
    samples = {datetime: datetime(2026, 1, 1, tzinfo=UTC), int: 512, str: "text"}
    values = {
        name: next(samples[each] for each in samples if each in (hint, *get_args(hint)))
        for name, hint in get_type_hints(CloudFunction).items()
    }
    return CloudFunction(**values | changed)


def test_options_have_the_names_of_the_class():
    assert list(FIELDS) == NAMES


def test_an_export_is_read_with_every_field(tmp_path):
    path = tmp_path / "all.json"
    path.write_bytes(format_rows([function()], FIELDS, "json", is_terminal=False))

    assert changes(read_functions(path), [function()]) == []


def test_a_night_has_every_field(tmp_path):
    listing = AccountListing(Account("wxshop", "a-token"), {"test-777bb9": (function(),)})
    with Night(stored(tmp_path / "i.sqlite", listing)) as night:
        (account,) = night.accounts()

    assert account.functions == {"test-777bb9": (function(),)}


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_change_of_one_field_is_a_change(name):
    value = datetime(2026, 1, 2, tzinfo=UTC) if name.endswith("_time") else "another"
    before, after = function(), function(**{name: value})

    assert len(changes([before], [after])) == 1
