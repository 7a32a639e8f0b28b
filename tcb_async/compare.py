"""Two complete lists of functions: what changed, and what differs from a declaration.

Rule: of a declaration, only what it names is compared, and the status.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

from tcb_async._arguments import check_flag, check_items
from tcb_async.exceptions import ConfigurationError
from tcb_async.models import CloudFunction, Value

__all__ = ["DeclaredFunction", "FunctionChange", "changes"]

_TIMES = ("add_time", "mod_time")


@attrs.frozen
class DeclaredFunction(CloudFunction):
    """A function that ``cloudbaserc.json`` declares.

    Attributes:
        status: ``Active``, to which a deployment leads.
        runtime: As of a `CloudFunction`; None, or empty, for any.
    """

    status: str = attrs.field(default="Active", kw_only=True)


@attrs.frozen
class FunctionChange(Value):
    """A function in which two lists differ.

    Attributes:
        kind: ``"added"``, ``"removed"`` or ``"updated"``.
        before: The function as it was, or as it is declared; None if it was added.
        after: The function as it is; None if it was removed.
        fields: The fields that differ, if it was updated.
    """

    kind: Literal["added", "removed", "updated"]
    before: CloudFunction | None
    after: CloudFunction | None
    fields: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        function = self.before or self.after
        return function.name if function is not None else ""

    @property
    def details(self) -> str:
        """The fields that differ, such as ``status Active → UpdateFailed``.

        After a new runtime, it says ``recreated``. For an added or removed function, it has the
        status, unless the function is declared, and the runtime.
        """
        if self.before is not None and self.after is not None:
            # CloudBase fixes the runtime when it creates a function.
            return ", ".join(
                f"{field} {_get_value(self.before, field)} → {_get_value(self.after, field)}"
                + (", recreated" if field == "runtime" else "")
                for field in self.fields
            )
        function = self.before or self.after
        if isinstance(function, DeclaredFunction):
            return function.runtime or ""  # it does not exist, so it has no status
        return f"{function.status} {function.runtime or ''}".strip() if function else ""


def changes(
    before: Iterable[CloudFunction], after: Iterable[CloudFunction], *, times: bool = True
) -> list[FunctionChange]:
    """Compare two complete lists.

    Args:
        before: A listing, or the result of `read_functions`. The empty fields of a
            `DeclaredFunction` are not compared.
        after: The same, later.
        times: Compare ``add_time`` and ``mod_time`` too.

    Returns:
        The functions removed, in the order of ``before``, then those added and updated, in the
        order of ``after``; at most one change per function. A different order is not a change.

    Raises:
        ConfigurationError: An argument is invalid, or a function appears twice in one list.
    """
    ignored = () if check_flag("times", times) else _TIMES
    before_by_name = index_by_name("before", before)
    after_by_name = index_by_name("after", after)
    result = [
        FunctionChange("removed", old, None)
        for name, old in before_by_name.items()
        if name not in after_by_name
    ]
    for name, new in after_by_name.items():
        if (old := before_by_name.get(name)) is None:
            result.append(FunctionChange("added", None, new))
        elif fields := tuple(each for each in _list_differing(old, new) if each not in ignored):
            result.append(FunctionChange("updated", old, new, fields))
    return result


def _list_differing(before: CloudFunction, after: CloudFunction) -> list[str]:
    """Return the fields that differ, if both have them, and no declaration leaves them empty."""
    shared = [field.name for field in attrs.fields(type(after)) if hasattr(before, field.name)]
    for declared in (before, after):
        if isinstance(declared, DeclaredFunction):
            shared = [field for field in shared if _get_value(declared, field) is not None]
    return [field for field in shared if _get_value(before, field) != _get_value(after, field)]


def _get_value(function: CloudFunction, field: str) -> object:
    return getattr(function, field) or None  # an empty text is no value


def index_by_name(argument: str, functions: Iterable[CloudFunction]) -> dict[str, CloudFunction]:
    """Return the functions of a complete list by name; the error names the argument."""
    index: dict[str, CloudFunction] = {}
    for function in check_items(argument, functions, CloudFunction):
        if function.name in index:
            raise ConfigurationError(
                f"{argument} has the function {function.name!r} twice: remove one, or compare each "
                "environment separately"
            )
        index[function.name] = function
    return index
