"""The API reference as Markdown, from the signatures and docstrings of the package.

Rule: the source is read, not imported. Every public member that has a docstring is shown; the
signature is shown in full where the docstring explains how to make the object.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[2]
_MARKER = re.compile(r"<!-- generated: api (\S+) (.+) -->")
_HEADS = {
    griffe.DocstringSectionKind.parameters: ("parameter", "meaning"),
    griffe.DocstringSectionKind.attributes: ("attribute", "meaning"),
    griffe.DocstringSectionKind.raises: ("raises", "when"),
}
_TABLE = re.compile(r"^(=+(?: +=+)+)\n(.+\n)\1\n((?:.+\n)+?)\1$", re.MULTILINE)
_COMMA = re.compile(r", (?=\*{0,2}\w+(?::|=|$)|\*,|/(?:,|$))")
_LINE = 88


def reference(module: str, *names: str) -> str:
    """Return the reference of some public names of a module, without its members ``-NAME``."""
    hidden = {name[1:] for name in names if name.startswith("-")}
    return "\n\n".join(_entry(module, name, hidden) for name in names if name[0] != "-")


@cache
def package() -> griffe.Module:
    """Read the package once."""
    found = griffe.load(
        "tcb_async",
        search_paths=[str(ROOT)],
        docstring_parser="google",
        docstring_options={"warnings": False},
    )
    if not isinstance(found, griffe.Module):
        raise TypeError("tcb_async is not a package")
    return found


def find(module: str, name: str) -> griffe.Object:
    """Find a public name where it is defined."""
    shown = "_api" if module == "tcb_async" else module.removeprefix("tcb_async.")
    return _defined(package()[shown].members[name])


def _defined(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


@cache
def explained() -> dict[str, tuple[str, str]]:
    """Find the module and the page of the reference of each public name."""
    return {
        name: (module, page.name)
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for module, names in _MARKER.findall(page.read_text(encoding="utf-8"))
        for name in names.split()
        if name[0] != "-"
    }


def _entry(module: str, name: str, hidden: set[str]) -> str:
    found = find(module, name)
    parts = [f"## `{name}`", _signature(found, f"{module}.{name}"), *_description(found, name)]
    parts.append(f"Defined in `{found.relative_package_filepath.as_posix()}`.")
    if isinstance(found, griffe.Class):
        parts.append(_fields_table(found, name))
        for member in _members(found):
            if member.name in hidden:
                continue
            parts += [f"### `{name}.{member.name}`", _signature(member, member.name)]
            parts += _description(member, name)
    return "\n\n".join(filter(None, parts))


def _members(owner: griffe.Class) -> Iterator[griffe.Object]:
    """Yield the public methods and properties, with those of private bases, in source order."""
    bases = [base for base in owner.mro() if base.name not in explained()]
    members: dict[str, griffe.Object] = {}
    for cls in [*reversed(bases), owner]:
        members |= {
            name: member
            for name, member in cls.members.items()
            if isinstance(member, griffe.Object)
        }
    for name, member in members.items():
        if (
            member.has_docstring
            and name[0] != "_"
            and not member.is_class
            and not _is_field(member)
        ):
            yield member


def _is_field(member: griffe.Object) -> bool:
    return isinstance(member, griffe.Attribute) and "property" not in member.labels


def _fields_table(owner: griffe.Class, name: str) -> str:
    """Return the fields that are explained below their line, not in the docstring of the class."""
    rows = [
        griffe.DocstringAttribute(field.name, description=field.docstring.value)
        for field in owner.members.values()
        if isinstance(field, griffe.Object) and _is_field(field) and field.docstring
    ]
    return _table(("attribute", "meaning"), rows, name) if rows else ""


def _signature(found: griffe.Object, name: str) -> str:
    if isinstance(found, griffe.Attribute):
        return _code(_fitted(_attribute(found, name), found.module))
    if isinstance(found, griffe.Class):
        return _code(_class(found, name))
    decorators = [f"@{decorator.value}" for decorator in found.decorators]
    lines = [line for line in decorators if "overload" not in line]
    keyword = "async def" if "async" in found.labels else "def"
    signatures = [overload.signature(name=name) for overload in found.overloads or [found]]
    lines += [_fitted(f"{keyword} {signature}", found.module) for signature in signatures]
    return _code("\n".join(lines))


def _class(found: griffe.Class, name: str) -> str:
    made = _defined(found.all_members["__init__"]) if "__init__" in found.all_members else None
    if isinstance(made, griffe.Function) and _explains(found, "parameters"):
        line = made.signature(return_type=False, name=name)
    elif _is_value(found):
        named_only = any("kw_only=True" in str(decorator.value) for decorator in found.decorators)
        line = f"{name}({'*, ' * named_only}{', '.join(map(_attribute, _fields(found)))})"
    else:
        bases = [str(base) for base in found.bases if not str(base).startswith("_")]
        line = f"{name}({', '.join(bases)})" if bases else name
        if "TypedDict" in bases:
            return "\n    ".join([f"class {line}:", *map(_attribute, _fields(found))])
    return _fitted(f"class {line}", found.module)


def _code(text: str) -> str:
    return f"```py\n{text}\n```"


def _fitted(line: str, module: griffe.Module) -> str:
    """Show defaults by their value, and a long signature with a line for each parameter."""
    line = re.sub(r"(?<== )[A-Z_]+(?=[,)])", lambda name: _value(module, name[0]), line)
    line = re.sub(r"\*\w+: Never", "*", line.replace("'", '"'))
    if len(line) <= _LINE:
        return line
    start, _, rest = line.partition("(")
    parameters, _, end = rest.rpartition(")")
    lines = [f"    {parameter}," for parameter in _COMMA.split(parameters)]
    return "\n".join([f"{start}(", *lines, f"){end}"])


def _value(module: griffe.Module, text: str) -> str:
    """Return the value of a constant of the package that the reference does not explain."""
    known = text in module.members and text not in explained()
    constant = _defined(module.members[text]) if known else None
    return str(constant.value) if isinstance(constant, griffe.Attribute) else text


def _attribute(field: griffe.Attribute, name: str = "") -> str:
    text = name or field.name
    if field.annotation is not None:
        text += f": {field.annotation}"
    default = field.value
    if isinstance(default, griffe.ExprCall) and str(default.function) == "attrs.field":
        given = {
            argument.name: argument.value
            for argument in default.arguments
            if isinstance(argument, griffe.ExprKeyword)
        }
        default = given.get("default", given.get("factory"))
    is_private = re.search(r"\b_", str(default))
    return text if default is None or is_private else f"{text} = {default}"


def _is_value(found: griffe.Class) -> bool:
    decorators = [str(decorator.value) for decorator in found.decorators]
    is_attrs = any(decorator.startswith("attrs.") for decorator in decorators)
    return is_attrs and _explains(found, "attributes")


def _fields(found: griffe.Class) -> list[griffe.Attribute]:
    members = {
        name: member
        for cls in [*reversed(found.mro()), found]
        for name, member in cls.members.items()
        if name[0] != "_"
    }
    return [
        member
        for member in members.values()
        if isinstance(member, griffe.Attribute) and _is_field(member)
        if member.annotation and "Final" not in str(member.annotation)
    ]


def _explains(found: griffe.Object, kind: str) -> bool:
    sections = found.docstring.parsed if found.docstring else []
    return any(section.kind.value == kind for section in sections)


def _description(found: griffe.Object, owner: str) -> Iterator[str]:
    for section in found.docstring.parsed if found.docstring else []:
        kind = section.kind
        if kind is griffe.DocstringSectionKind.text:
            yield _markdown(section.value, owner)
        elif kind in _HEADS:
            yield _table(_HEADS[kind], section.value, owner)
        elif kind.value in {"returns", "yields"}:
            returned = " ".join(part.description for part in section.value)
            yield f"**{kind.value.title()}:** {_inline(returned, owner)}"
        else:
            raise ValueError(f"{found.path}: a section of the kind {kind.value}")


def _table(head: tuple[str, str], rows: Iterable[griffe.DocstringNamedElement], owner: str) -> str:
    lines = [f"| {' | '.join(head)} |", "| --- | --- |"]
    for row in rows:
        name = getattr(row, "name", None) or str(row.annotation)
        named = _inline(f"`{name}`", owner) if head[0] == "raises" else f"`{name}`"
        meaning = _inline(row.description, owner).replace("\n", " ").replace("|", "\\|")
        lines.append(f"| {named} | {meaning} |")
    return "\n".join(lines)


def _markdown(text: str, owner: str) -> str:
    """Turn a docstring's reStructuredText into Markdown."""
    text = _TABLE.sub(_rst_table, re.sub(r"(?<=\S)::$", ":\n\n::", text, flags=re.MULTILINE))
    parts = re.split(r"(?:^|\s*)::\n\n((?:(?: {4}.*)?\n)+)", f"{text}\n")
    for at, part in enumerate(parts):
        parts[at] = _code(dedent(part).strip()) if at % 2 else _inline(part.strip(), owner)
    return "\n\n".join(filter(None, parts))


def _rst_table(table: re.Match[str]) -> str:
    starts = [column.start() for column in re.finditer("=+", table[1])]
    rows: list[list[str]] = []
    for line in [table[2], *table[3].splitlines()]:
        cells = [line[at:end].strip() for at, end in pairwise([*starts, None])]
        if cells[0] and cells[1]:
            rows.append(cells)
        else:  # the line goes on with the row above
            rows[-1] = [
                f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)
            ]
    rows.insert(1, ["---"] * len(starts))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _inline(text: str, owner: str) -> str:
    text = re.sub(r"(?::meth:)?(?<!`)`([^`\n]+)`(?!`)", lambda name: _link(name[1], owner), text)
    return text.replace("``", "`")


def _link(name: str, owner: str) -> str:
    """Link a name to where the reference explains it."""
    whole = f"{owner}.{name}" if name in _members_of(owner) else name
    first, _, member = whole.partition(".")
    if first not in explained() or whole == owner:
        return f"`{name}`"
    page = "" if first == owner else explained()[first][1]
    place = whole if member in _members_of(first) else first
    anchor = re.sub(r"[^\w-]", "", place.lower())
    return f"[`{name}`]({page}#{anchor})"


@cache
def _members_of(owner: str) -> set[str]:
    found = find(explained()[owner][0], owner)
    return {member.name for member in _members(found)} if isinstance(found, griffe.Class) else set()
