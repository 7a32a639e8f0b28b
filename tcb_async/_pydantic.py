"""The schema of an attrs class for pydantic, and so for FastAPI.

Rule: pydantic is imported only when it asks for a schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_type_hints

import attrs

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler
    from pydantic_core import CoreSchema


def make_core_schema(
    cls: type,
    fields: Sequence[attrs.Attribute[object]],
    type_arguments: tuple[object, ...],
    handler: GetCoreSchemaHandler,
) -> CoreSchema:
    """Make the schema of a class: a dict of these fields, or an object of the class.

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

    def make_dict_schema(*, all_required: bool) -> CoreSchema:
        return core_schema.typed_dict_schema(
            {
                field.name: core_schema.typed_dict_field(
                    handler.generate_schema(hints[field.name]),
                    required=all_required or field.default is attrs.NOTHING,
                )
                for field in fields
            },
            cls_name=cls.__name__,
            metadata={"pydantic_js_updates": {"title": cls.__name__, "description": description}},
        )

    def validate(value: object, check: ValidatorFunctionWrapHandler) -> object:
        return value if isinstance(value, cls) else cls(**check(value))

    validate.__name__ = cls.__name__  # pydantic names it in its errors
    return core_schema.no_info_wrap_validator_function(
        validate,
        make_dict_schema(all_required=False),
        serialization=core_schema.plain_serializer_function_ser_schema(
            lambda value: {field.name: getattr(value, field.name) for field in fields},
            return_schema=make_dict_schema(all_required=True),
        ),
        # Formatted as pydantic's own refs, from which it makes the names in "$defs".
        ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}"
        + "".join(f"[{getattr(each, '__name__', '')}:{id(each)}]" for each in type_arguments),
    )
