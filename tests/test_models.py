"""Frozen values with aware times."""

import pickle
from datetime import UTC, datetime, timedelta, timezone

import attrs
import pytest

from tcb_async.models import CloudFunction, FunctionPage

LOGIN = CloudFunction(
    "login", "Active", "Nodejs8.9", add_time="2019-02-27 15:34:59", mod_time="2019-06-21 15:23:54"
)


def test_times_are_aware_and_in_china() -> None:
    assert LOGIN.add_time == datetime.fromisoformat("2019-02-27T15:34:59+08:00")
    assert LOGIN.mod_time is not None
    assert LOGIN.mod_time.utcoffset() == timedelta(hours=8)


def test_a_function_can_be_made_with_times_of_ones_own() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    assert CloudFunction("a", "Active", add_time=noon).add_time == noon


@pytest.mark.parametrize(
    "text", [None, "", "0000-00-00 00:00:00", "yesterday", "2019-13-01 00:00:00"]
)
def test_a_time_that_is_none_is_none(text: str | None) -> None:
    assert CloudFunction("a", "Active", add_time=text).add_time is None


def test_a_time_that_names_its_zone_keeps_it() -> None:
    function = CloudFunction("a", "Active", add_time="2019-02-27T15:34:59+02:00")

    assert function.add_time == datetime(
        2019, 2, 27, 15, 34, 59, tzinfo=timezone(timedelta(hours=2))
    )


def test_functions_compare_hash_and_pickle_by_value() -> None:
    twin = pickle.loads(pickle.dumps(LOGIN))  # noqa: S301 - our own bytes

    assert twin == LOGIN
    assert hash(twin) == hash(LOGIN)
    assert twin != attrs.evolve(LOGIN, mod_time="2026-01-01 00:00:00")


def test_a_function_is_an_attrs_class() -> None:
    changed = attrs.evolve(LOGIN, status="Updating")

    assert [field.name for field in attrs.fields(CloudFunction)] == [
        "name", "status", "runtime", "add_time", "mod_time",
    ]  # fmt: skip
    assert attrs.asdict(changed) == attrs.asdict(LOGIN) | {"status": "Updating"}
    assert changed.add_time == LOGIN.add_time


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        LOGIN.name = "other"  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        FunctionPage((), 0, 0, 20).offset = 1  # type: ignore[misc]


def test_a_repr_shows_times_as_people_read_them() -> None:
    assert repr(LOGIN) == (
        "CloudFunction(name='login', status='Active', runtime='Nodejs8.9', "
        "add_time='2019-02-27 15:34:59', mod_time='2019-06-21 15:23:54')"
    )
    assert eval(repr(LOGIN)) == LOGIN  # noqa: S307 - our own text
