"""The items of listings, as frozen values.

Rule: plain attrs classes. WeChat writes times without a zone; users get aware times only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast, get_args

import attrs
import msgspec

from tcb_async._defaults import CHINA_STANDARD_TIME as CHINA_STANDARD_TIME  # noqa: PLC0414 - public
from tcb_async._pydantic import make_core_schema, make_serializer
from tcb_async._redact import Secret

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema, SchemaSerializer


@attrs.frozen
class Value:
    """Base of items, pages and changes: conversion to JSON, also for FastAPI."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON values, with times as ISO 8601 text and without secrets.

        ``type(value)(**value.to_dict()) == value``, unless a field is a secret, or contains values
        that are not JSON.
        """
        fields = _list_json_fields(type(self))
        return {field.name: _to_json(getattr(self, field.name)) for field in fields}

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Describe the fields; pydantic calls this for a class that appears in a model."""
        return make_core_schema(cls, _list_json_fields, get_args(source), handler)

    @property
    def __pydantic_serializer__(self) -> SchemaSerializer:
        """Serialize where no class is declared; pydantic reads this of an object in an `Any`."""
        cls: type = type(self)  # mypy finds no hash in the class of an attrs class
        return make_serializer(cls)


def _list_json_fields(cls: type[Value]) -> list[attrs.Attribute[object]]:
    """Return the fields that may be shown: a field without a repr is a secret."""
    return [field for field in attrs.fields(cls) if field.repr is not False]


def _to_json(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in cast("Sequence[object]", value)]
    if isinstance(value, Value):
        return value.to_dict()
    # The hook converts subclasses of str, which msgspec refuses, and raises TypeError for the rest.
    return msgspec.to_builtins(value, enc_hook=str.__str__)


def _make_aware(time: datetime | str | None) -> datetime | None:
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    if time is None or time.tzinfo is not None:
        return time
    return time.replace(tzinfo=CHINA_STANDARD_TIME)


def _show_time(time: datetime | None) -> str:
    return repr(None if time is None else time.isoformat())


@attrs.frozen
class StatusReason(Value):
    """A reason for the status of a function.

    Attributes:
        errcode: WeChat's code, a text such as ``ResourceNotFound.File``.
        errmsg: WeChat's text.
    """

    errcode: str
    errmsg: str


@attrs.frozen
class CloudFunction(Value):
    """One cloud function of an environment.

    Attributes:
        name: Its name, unique in the environment.
        status: ``Active``, ``Creating``, ``CreateFailed``, ``Updating``, …: an open set
            (https://cloud.tencent.com/document/product/583/115197).
        runtime: ``Nodejs16.13``, ``Python3.10``, ``CustomImage``, …: an open set. None if it is
            missing.
        add_time: The time of its creation, at UTC+08:00; None if it is missing or
            unreadable. ISO 8601 text is accepted too.
        mod_time: The time of its last change, in the same form; None if it is missing or
            unreadable.

    Source: the WeChat page *getFuntionList*, ``functions[]``.
    """

    name: str
    status: str
    runtime: str | None = None
    add_time: datetime | None = attrs.field(default=None, converter=_make_aware, repr=_show_time)
    mod_time: datetime | None = attrs.field(default=None, converter=_make_aware, repr=_show_time)


@attrs.frozen
class Environment(Value):
    """One environment of an account.

    Attributes:
        env: Its id.
        alias: Its name.
        status: ``NORMAL``, ``HALTED`` (停服), ``UNAVAILABLE`` (not set up yet), …: an open set.
        create_time: The time of its creation, like ``add_time`` of a `CloudFunction`; None if it is
            missing or unreadable.
        update_time: The time of its last change, in the same form; None if it is missing or
            unreadable.
        package_id: Its plan (套餐), such as ``basic``.
        package_name: The plan's name.

    Source: the WeChat page *getEnvInfo*, ``info_list[]``.
    """

    env: str
    alias: str = ""
    status: str = ""
    create_time: datetime | None = attrs.field(default=None, converter=_make_aware, repr=_show_time)
    update_time: datetime | None = attrs.field(default=None, converter=_make_aware, repr=_show_time)
    package_id: str = ""
    package_name: str = ""


@attrs.frozen
class BatchEnvironment(Environment):
    """An environment of a platform itself (批量云开发): an `Environment` with two more ids.

    Attributes:
        dbinstance_id: The id of its database.
        bucket_id: The id of its storage.

    Source: the WeChat page *getTcbEnvList*, ``info_list[]``.
    """

    dbinstance_id: str = ""
    bucket_id: str = ""


@attrs.frozen
class BatchFunction(CloudFunction):
    """One cloud function of a platform's own environment (批量云开发), with reasons for its status.

    Attributes:
        status_reason: The reasons for a status such as ``CreateFailed``; empty if all is well.

    Source: the WeChat page *getCloudFunctionList*, ``functions[]``.
    """

    status_reason: tuple[StatusReason, ...] = attrs.field(default=(), converter=tuple)


@attrs.frozen
class Authorizer(Value):
    """A merchant that authorised a third-party platform (第三方平台).

    Attributes:
        authorizer_appid: The merchant's appid; empty if WeChat sends none.
        refresh_token: Its ``authorizer_refresh_token``, left out of the repr and of JSON; call
            ``.reveal()`` to store it. None if WeChat sends none.
        auth_time: The time of the authorisation; None if it is missing or unreadable.

    Source: the WeChat page *getAuthorizerList*, ``list[]``.
    """

    authorizer_appid: str = ""
    refresh_token: Secret | None = attrs.field(
        default=None, repr=False, converter=attrs.converters.optional(Secret)
    )
    auth_time: datetime | None = attrs.field(default=None, converter=_make_aware, repr=_show_time)
