"""Values are plain: equality, hash, repr, copies, pickles and JSON all agree."""

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Generic, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from tcb_async import Authorizer, BatchEnvironment, Environment, FunctionChange
from tcb_async.models import BatchFunction, CloudFunction, StatusReason
from tcb_async.pagination import Page

LOGIN = CloudFunction(
    "login", "Active", "Nodejs8.9", add_time="2019-02-27 15:34:59", mod_time="2019-06-21 15:23:54"
)
OTHERS = {
    "name": "logout",
    "status": "Updating",
    "runtime": None,
    "add_time": None,
    "mod_time": datetime(2026, 1, 1, tzinfo=UTC),
}

zones = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
times = st.none() | st.datetimes(timezones=zones)
functions = st.builds(CloudFunction, st.text(), st.text(), st.none() | st.text(), times, times)


@given(functions)
def test_copy_of_a_function_is_the_same_function(function):
    copies = [
        attrs.evolve(function),
        CloudFunction(**attrs.asdict(function)),
        CloudFunction(**function.to_dict()),  # type: ignore[arg-type]
        CloudFunction(**json.loads(json.dumps(function.to_dict()))),
        pickle.loads(pickle.dumps(function)),  # noqa: S301 - our own bytes
        copy.copy(function),
        copy.deepcopy(function),
        eval(repr(function)),  # noqa: S307 - our own text
        TypeAdapter(CloudFunction).validate_json(TypeAdapter(CloudFunction).dump_json(function)),
    ]

    assert copies == [function] * len(copies)
    assert {hash(twin) for twin in copies} == {hash(function)}
    assert {type(twin) for twin in copies} == {CloudFunction}


@pytest.mark.parametrize("name", OTHERS)
def test_functions_compare_by_every_field_and_are_frozen(name):
    changed = attrs.evolve(LOGIN, **{name: OTHERS[name]})

    assert changed != LOGIN
    assert getattr(changed, name) == OTHERS[name]
    assert attrs.evolve(changed, **{name: getattr(LOGIN, name)}) == LOGIN
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(LOGIN, name, OTHERS[name])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(LOGIN, name)


def test_times_are_aware_and_in_china():
    noon = datetime(2019, 2, 27, 12, 0)  # noqa: DTZ001 - as one might write it

    assert LOGIN.add_time == datetime.fromisoformat("2019-02-27T15:34:59+08:00")
    assert LOGIN.mod_time.utcoffset() == timedelta(hours=8)
    assert CloudFunction("a", "Active", add_time=noon).add_time == datetime(
        2019, 2, 27, 4, 0, tzinfo=UTC
    )


def test_time_with_a_zone_keeps_it_and_other_text_is_refused():
    function = CloudFunction("a", "Active", add_time="2019-02-27T15:34:59+02:00")

    assert function.add_time.utcoffset() == timedelta(hours=2)
    with pytest.raises(ValueError, match="yesterday"):
        CloudFunction("a", "Active", add_time="yesterday")


def test_repr_shows_times_as_people_read_them():
    assert repr(attrs.evolve(LOGIN, mod_time=None)).startswith(
        "CloudFunction(name='login', status='Active', runtime='Nodejs8.9', "
        "add_time='2019-02-27T15:34:59+08:00', mod_time=None"
    )


def test_function_becomes_json_in_the_order_of_its_fields():
    assert json.dumps(LOGIN.to_dict()).startswith(
        '{"name": "login", "status": "Active", "runtime": "Nodejs8.9", '
        '"add_time": "2019-02-27T15:34:59+08:00", "mod_time": "2019-06-21T15:23:54+08:00"'
    )


def test_nested_values_serialise():
    reason = StatusReason("NotFound", "no such file")
    failed = BatchFunction("a", "CreateFailed", status_reason=(reason,))
    adapter = TypeAdapter(BatchFunction)

    shown = json.loads(json.dumps(failed.to_dict()))
    assert shown["status_reason"] == [{"errcode": "NotFound", "errmsg": "no such file"}]
    assert json.loads(adapter.dump_json(failed)) == shown
    assert adapter.validate_python(shown) == failed
    assert adapter.validate_python(failed) is failed
    with pytest.raises(ValidationError, match=r"\[BatchFunction\(\)\]"):
        TypeAdapter(BatchFunction | int).validate_python({})


def test_an_empty_tuple_survives_json():
    function = BatchFunction("a", "Active")
    assert BatchFunction(**function.to_dict()) == function  # type: ignore[arg-type]


T = TypeVar("T")
FAILED = BatchFunction("a", "CreateFailed", status_reason=(StatusReason("NotFound", "no file"),))
TIME = "2019-02-27 15:34:59"


class Report(BaseModel, Generic[T]):
    content: T


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (StatusReason, FAILED.status_reason[0]),
        (CloudFunction, LOGIN),
        (BatchFunction, FAILED),
        (Environment, Environment("test-777bb9", create_time=TIME)),
        (BatchEnvironment, BatchEnvironment("test-777bb9", update_time=TIME, bucket_id="b")),
        (Authorizer, Authorizer("wx0123456789abcdef", auth_time=TIME)),
        (FunctionChange, FunctionChange("updated", LOGIN, LOGIN, ("status",))),
        (Page[BatchFunction], Page([FAILED], 7)),
        (CloudFunction | BatchFunction, FAILED),
        (Report[Page[CloudFunction]], Report[Page[CloudFunction]](content=Page([LOGIN], 7))),
    ],
)
def test_strict_pydantic_reads_the_json_that_it_writes(kind, value):
    adapter = TypeAdapter(kind)
    assert adapter.validate_json(adapter.dump_json(value), strict=True) == value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda kind: (list[kind], [FAILED]),
        lambda kind: (dict[str, kind], {"a": FAILED}),
        lambda kind: (Page[kind], Page([FAILED], 1)),
        lambda kind: (Report[kind], Report[kind](content=FAILED)),
        lambda kind: (list[kind] | dict[str, kind], {"a": FAILED}),
    ],
)
@pytest.mark.parametrize("kind", [CloudFunction, CloudFunction | BatchFunction, Any])
def test_pydantic_writes_all_fields_of_an_object(kind, wrap):
    declared, value = wrap(kind)
    shown = TypeAdapter(declared).dump_python(value, mode="json")
    assert json.dumps(FAILED.to_dict()) in json.dumps(shown)


def test_pydantic_writes_no_secret_where_no_class_is_declared():
    merchant = Authorizer("wx0123456789abcdef", refresh_token="planted-refresh-token")
    assert b"planted" not in TypeAdapter(Any).dump_json([merchant])


def test_pydantic_refuses_to_write_an_object_of_a_different_class():
    said = "StatusReason in place of CloudFunction"
    with pytest.raises(PydanticSerializationError, match=said):
        TypeAdapter(Page[CloudFunction]).dump_json(Page(FAILED.status_reason, 1))
