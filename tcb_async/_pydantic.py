"""The schema of an attrs class for pydantic, and so for FastAPI.

Rule: an object is serialized with all fields of its own class, whatever class was declared.
pydantic is imported only when it asks for a schema or a serializer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, get_type_hints

import attrs

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidatorFunctionWrapHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema, SchemaSerializer


def make_core_schema(
    cls: type,
    list_fields: Callable[[type], Sequence[attrs.Attribute[object]]],
    type_arguments: tuple[object, ...],
    handler: GetCoreSchemaHandler,
) -> CoreSchema:
    """Make the schema of a class: a dict of the fields that are listed, or an object of the class.

    A dict becomes an object. A generic class has type arguments, such as the type of a page's
    items.
    """
    from pydantic_core import core_schema  # noqa: PLC0415 - pydantic is installed

    hints = get_type_hints(cls)
    if type_arguments:
        hints |= {
            name: hint[type_arguments]
            for name, hint in hints.items()
            if getattr(hint, "__parameters__", ())
        }
    description = (cls.__doc__ or "").partition("\n")[0]

    def make_json_schema(schema: CoreSchema, handle: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handle(schema)
        described.pop("additionalProperties", None)  # those of a subclass
        return described | {"title": cls.__name__, "description": description}

    def make_dict_schema(*, is_output: bool) -> CoreSchema:
        return core_schema.typed_dict_schema(
            {
                field.name: core_schema.typed_dict_field(
                    handler.generate_schema(hints[field.name]),
                    required=is_output or field.default is attrs.NOTHING,
                )
                for field in list_fields(cls)
            },
            extra_behavior="allow" if is_output else "ignore",
            metadata={"pydantic_js_functions": [make_json_schema]},
        )

    def validate(value: object, check: ValidatorFunctionWrapHandler) -> object:
        return value if isinstance(value, cls) else cls(**check(value))

    def get_fields(value: object) -> dict[str, object]:
        if not isinstance(value, cls):
            raise TypeError(f"{type(value).__name__} in place of {cls.__name__}")
        return {field.name: getattr(value, field.name) for field in list_fields(type(value))}

    for function in (validate, get_fields):
        function.__name__ = cls.__name__  # pydantic names it in its errors
    input_schema = make_dict_schema(is_output=False)
    return core_schema.json_or_python_schema(
        # JSON has no objects of the class, and `validate` would get it decoded: `strict` accepts a
        # text as a time, and a list as a tuple, only in JSON.
        core_schema.no_info_after_validator_function(lambda fields: cls(**fields), input_schema),
        core_schema.no_info_wrap_validator_function(validate, input_schema),
        serialization=core_schema.plain_serializer_function_ser_schema(
            get_fields, return_schema=make_dict_schema(is_output=True)
        ),
        # Formatted as pydantic's own refs, from which it makes the names in "$defs".
        ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}"
        + "".join(f"[{getattr(each, '__name__', '')}:{id(each)}]" for each in type_arguments),
    )


@cache
def make_serializer(cls: type) -> SchemaSerializer:
    """Make what pydantic uses for an object where no type is declared, as in `Any`."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - pydantic is installed

    return TypeAdapter(cls).serializer
