"""The API reference as Markdown, from the signatures and docstrings of the package.

Rule: the source is read, not imported. Every public member that has a docstring is shown: in the
table of its class, and in a section of its own if there is more to say than fits into the table.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from textwrap import dedent
from types import MappingProxyType
from typing import TYPE_CHECKING

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
_MARKER = re.compile(r"<!-- generated: api (\S+) (.+) -->")
_HEADS = {
    griffe.DocstringSectionKind.parameters: ("parameter", "meaning"),
    griffe.DocstringSectionKind.attributes: ("attribute", "meaning"),
}
_TABLE = re.compile(r"^(=+(?: +=+)+)\n(.+\n)\1\n((?:.+\n)+?)\1$", re.MULTILINE)
_COMMA = re.compile(r", (?=\*{0,2}\w+(?::|=|$)|\*,|/(?:,|$))")
_ANY_ARGUMENT = re.compile(r"An argument is invalid\b")
"""The reference says once that every function refuses an invalid argument."""
_LINE = 88
_WIDEST_CELL = 320
_LONGEST_DEFAULT = 30
_MANY_MEMBERS = 9
"""A class with more members begins with their table."""


def reference(module: str, *names: str) -> str:
    """Return the reference of some public names of a module.

    ``-NAME`` hides a member or parameter. ``+NAME`` is a class whose members have no sections.
    """
    hidden = frozenset(name[1:] for name in names if name.startswith("-"))
    shown = [name.removeprefix("+") for name in names if name[0] != "-"]
    return "\n\n".join(_entry(module, name, hidden) for name in shown)


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
    scope = package()[module.removeprefix("tcb_async.")] if "." in module else package()
    return _defined(scope.members[name])


def _defined(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


@cache
def explained() -> dict[str, tuple[str, str]]:
    """Find the module and the page of the reference of each public name."""
    return {
        name.removeprefix("+"): (module, page) for module, page, name in _marked() if name[0] != "-"
    }


@cache
def _marked() -> list[tuple[str, str, str]]:
    return [
        (module, page.name, name)
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for module, names in _MARKER.findall(page.read_text(encoding="utf-8"))
        for name in names.split()
    ]


def _entry(module: str, name: str, hidden: frozenset[str]) -> str:
    found = find(module, name)
    signature = _signature(found, f"{module}.{name}", hidden)
    parts = [signature, *_description(found, name, hidden)]
    if isinstance(found, griffe.Class):
        members = [
            member
            for member in _members(found)
            if member.name not in hidden and _first_with(member) in {None, name}
        ]
        tables = [_fields_table(found, name), _members_table(members, name)]
        tables.append(_inherited(found, {member.name for member in members} | hidden))
        parts = [*tables, *parts] if len(members) > _MANY_MEMBERS else [*parts, *tables]
        for member in members:
            if _has_section(member, name):
                parts += [f"### `{name}.{member.name}`", _signature(member, member.name)]
                parts += _description(member, name)
    return "\n\n".join(filter(None, [f"## `{name}`", *parts]))


def _inherited(found: griffe.Class, shown: set[str]) -> str:
    """Link the members of the bases that the reference explains."""
    links = [
        _link(f"{_first_with(member)}.{member.name}", found.name, member.name)
        for member in _members(found)
        if member.name not in shown
    ]
    for base in found.mro():
        if base.name in explained() and not _is_error(found):
            inherited = sorted(_members_of(base.name) - shown)
            links += [_link(f"{base.name}.{name}", found.name, name) for name in inherited]
            shown = shown | {*inherited}
    return f"Inherited: {', '.join(links)}." if links else ""


def _first_with(member: griffe.Object) -> str | None:
    """Return the first class of the reference that shows a member of a base without an entry."""
    base = member.parent
    if base is None or base.name in explained():
        return None
    classes = [find(module, name) for name, (module, _) in explained().items()]
    heirs = (one.name for one in classes if isinstance(one, griffe.Class) and base in one.mro())
    return next(heirs, None)


def _is_error(found: griffe.Class) -> bool:
    return any(base.name == "TcbError" for base in found.mro())


def _members_table(members: list[griffe.Object], owner: str) -> str:
    """Return the table of members: all of a class with many, or else those without a section."""
    rows: list[str] = []
    for member in members:
        text = str(member.docstring.parsed[0].value) if member.docstring else ""
        if not _has_section(member, owner):
            shown = _cell(f"`{_one_line(member)}`")
            text = _told(member)
        elif len(members) > _MANY_MEMBERS:
            shown = _link(f"{owner}.{member.name}", owner, member.name)
            text = re.split(r"(?<=\.)\s|\n\n|::$", text)[0]
        else:
            continue
        meaning = _inline(text, owner).replace("\n", " ")
        rows.append(f"| {shown} | {meaning} |")
    return "\n".join(["| member | meaning |", "| --- | --- |", *rows]) if rows else ""


def _one_line(member: griffe.Object) -> str:
    """Return the signature of a member for a cell of a table."""
    if isinstance(member, griffe.Attribute):
        text = _attribute(member)
    elif isinstance(member, griffe.Function):
        parameters = griffe.Parameters(
            *(
                griffe.Parameter(each.name, kind=each.kind, default=each.default)
                for each in member.parameters
                if each.name not in {"self", "cls"}
            )
        )
        bare = griffe.Function(member.name, parameters=parameters, returns=member.returns)
        text = bare.signature(return_type=True, name=member.name)
        text = re.sub(r" -> (None|_\w+)$", "", text)
        text = f"await {text}" if "async" in member.labels else text
    else:
        text = member.name
    return _with_defaults(text, member.module)


def _told(member: griffe.Object) -> str:
    """Return the whole docstring of a member, for a cell of a table."""
    parts: list[str] = []
    for section in member.docstring.parsed if member.docstring else []:
        kind = section.kind.value
        if kind == "text":
            parts.append(section.value)
        elif kind == "returns":
            parts.append(f"Returns: {' '.join(row.description for row in section.value)}")
        elif kind == "raises":
            rows = [row for row in section.value if not _ANY_ARGUMENT.match(row.description)]
            parts += [f"Raises `{row.annotation}`: {row.description}" for row in rows]
        else:
            parts += [f"``{row.name}``: {row.description}" for row in section.value]
    return " ".join(" ".join(parts).split())


def _has_section(member: griffe.Object, owner: str) -> bool:
    """Whether there is more to say about a member than fits into a cell of a table."""
    if f"+{owner}" in {name for _, _, name in _marked()}:
        return False
    sections = member.docstring.parsed if member.docstring else []
    is_overloaded = isinstance(member, griffe.Function) and bool(member.overloads)
    has_table = any(it.kind.value == "parameters" and len(it.value) > 1 for it in sections)
    has_block = any("::" in str(section.value) for section in sections)
    is_long = len(f"{_one_line(member)} {_told(member)}") > _WIDEST_CELL
    return has_table or has_block or is_long or is_overloaded


def _members(owner: griffe.Class) -> Iterator[griffe.Object]:
    """Yield the public methods and properties, with those of private bases, in source order."""
    known = [base for base in owner.mro() if base.name in explained()]
    elsewhere = {base.path for one in known for base in one.mro()}
    bases = [
        base for base in owner.mro() if base.name not in explained() and base.path not in elsewhere
    ]
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


def _signature(found: griffe.Object, name: str, hidden: frozenset[str] = frozenset()) -> str:
    if isinstance(found, griffe.Attribute):
        return _code(_fitted(_attribute(found, name), found.module))
    if isinstance(found, griffe.Class):
        return _code(_class(found, name, hidden))
    decorators = [f"@{decorator.value}" for decorator in found.decorators]
    lines = [line for line in decorators if "overload" not in line]
    keyword = "async def" if "async" in found.labels else "def"
    for overload in found.overloads or ():
        for parameter in overload.parameters:
            if str(parameter.default) == "...":
                parameter.default = found.parameters[parameter.name].default
    signatures = [overload.signature(name=name) for overload in found.overloads or [found]]
    lines += [_fitted(f"{keyword} {signature}", found.module) for signature in signatures]
    return _code("\n".join(lines))


def _class(found: griffe.Class, name: str, hidden: frozenset[str]) -> str:
    made = _defined(found.all_members["__init__"]) if "__init__" in found.all_members else None
    if isinstance(made, griffe.Function) and _explains(found, "parameters"):
        kept = [each for each in made.parameters if each.name not in hidden]
        shown = griffe.Function(made.name, parameters=griffe.Parameters(*kept), parent=found)
        line = shown.signature(return_type=False, name=name)
    else:
        bases = [str(base) for base in found.bases if not str(base).startswith("_")]
        if _is_value(found):
            bases = [base for base in bases if base in explained()]
        line = f"{name}({', '.join(bases)})" if bases else name
    return _fitted(f"class {line}", found.module)


def _code(text: str) -> str:
    return f"```py\n{text}\n```"


def _fitted(line: str, module: griffe.Module) -> str:
    """Show a long signature with a line for each parameter."""
    line = _with_defaults(line, module)
    if len(line) <= _LINE:
        return line
    start, _, rest = line.partition("(")
    parameters, _, end = rest.rpartition(")")
    lines = [f"    {parameter}," for parameter in _COMMA.split(parameters)]
    return "\n".join([f"{start}(", *lines, f"){end}"])


def _with_defaults(line: str, module: griffe.Module) -> str:
    """Show defaults by their value, and leave out private parameters and those of type Never."""
    line = re.sub(r"(?<==)( ?)([A-Z_]+)(?=[,)]|$)", lambda it: it[1] + _value(module, it[2]), line)
    line = re.sub(r", _\w+: [^,)]+|, \*_\w+(: Never)?", "", line)
    line = re.sub(r", \*\*\w+: Never", "", line.replace("'", '"'))
    return re.sub(r"\*\w+: Never", "*", line)


def _value(module: griffe.Module, text: str) -> str:
    """Return the value of a constant of the package that the reference does not explain."""
    known = text in module.members and text not in explained()
    constant = _defined(module.members[text]) if known else None
    if not isinstance(constant, griffe.Attribute):
        return text
    value = re.sub(r"^_\w+\((-?\d+), .*\)$", r"\1", str(constant.value))  # a registered number
    return value if len(value) <= _LONGEST_DEFAULT else "…"


def _resolve(name: griffe.ExprName) -> str | griffe.Expr:
    """Return the value of a name that another module defines, or the name."""
    found = name.parent.modules_collection[name.canonical_path]
    found = found.final_target if isinstance(found, griffe.Alias) else found
    value = found.value if isinstance(found, griffe.Attribute) else None
    return name if value is None else value


def _attribute(field: griffe.Attribute, name: str = "") -> str:
    text = name or field.name
    if field.annotation is not None:
        text += f": {field.annotation}"
    default = field.value
    if isinstance(default, griffe.ExprName) and isinstance(field.parent, griffe.Module):
        default = _resolve(default)  # a name for a type of another module
    if isinstance(default, griffe.ExprCall) and str(default.function) == "attrs.field":
        given = {
            argument.name: argument.value
            for argument in default.arguments
            if isinstance(argument, griffe.ExprKeyword)
        }
        factory = given.get("factory")
        made = factory and f"{str(factory).partition('[')[0]}()"
        default = given.get("default", made)
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


def _description(
    found: griffe.Object, owner: str, hidden: frozenset[str] = frozenset()
) -> Iterator[str]:
    for section in found.docstring.parsed if found.docstring else []:
        kind = section.kind
        if kind is griffe.DocstringSectionKind.text:
            yield _markdown(section.value, owner)
        elif kind in _HEADS:
            rows = [row for row in section.value if getattr(row, "name", None) not in hidden]
            is_typed = kind is griffe.DocstringSectionKind.attributes
            fields = _fields(found) if is_typed and isinstance(found, griffe.Class) else ()
            types = {field.name: _one_line(field) for field in fields}
            yield _table(_HEADS[kind], rows, owner, types)
        elif kind is griffe.DocstringSectionKind.raises:
            rows = [row for row in section.value if not _ANY_ARGUMENT.match(row.description)]
            yield "\n".join(_raised(row, owner) for row in rows)
        elif kind.value in {"returns", "yields"}:
            returned = " ".join(part.description for part in section.value)
            yield f"**{kind.value.title()}:** {_inline(returned, owner)}"
        else:
            raise ValueError(f"{found.path}: a section of the kind {kind.value}")


def _raised(row: griffe.DocstringRaise, owner: str) -> str:
    return f"- Raises {_inline(f'`{row.annotation}`', owner)}: {_one_paragraph(row, owner)}"


def _one_paragraph(row: griffe.DocstringElement, owner: str) -> str:
    return _inline(row.description, owner).replace("\n", " ")


def _table(
    head: tuple[str, str],
    rows: Iterable[griffe.DocstringNamedElement],
    owner: str,
    types: Mapping[str, str] = MappingProxyType({}),
) -> str:
    lines = [f"| {' | '.join(head)} |", "| --- | --- |"]
    told = ((_cell(_one_paragraph(row, owner)), row.name) for row in rows)
    for meaning, same in groupby(told, key=itemgetter(0)):
        names = ", ".join(_cell(f"`{types.get(name, name)}`") for _, name in same)
        lines.append(f"| {names} | {meaning} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    r"""Write ``|`` as every Markdown shows it: the site would show the backslash of ``\|``."""
    return re.sub(
        r"`([^`]*\|[^`]*)`",
        lambda code: f"<code>{escape(code[1], quote=False).replace('|', '&#124;')}</code>",
        text,
    )


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


def _link(name: str, owner: str, shown: str = "") -> str:
    """Link a name to where the reference explains it."""
    shown = shown or name
    whole = f"{owner}.{name}" if name in _members_of(owner) else name
    first, _, member = whole.partition(".")
    if first not in explained() or whole == owner:
        return f"`{shown}`"
    page = "" if first == owner else explained()[first][1]
    place = whole if member in _sections_of(first) else first
    anchor = re.sub(r"[^\w-]", "", place.lower())
    return f"[`{shown}`]({page}#{anchor})"


@cache
def _members_of(owner: str) -> set[str]:
    found = find(explained()[owner][0], owner)
    return {member.name for member in _members(found)} if isinstance(found, griffe.Class) else set()


@cache
def _sections_of(owner: str) -> set[str]:
    found = find(explained()[owner][0], owner)
    members = _members(found) if isinstance(found, griffe.Class) else ()
    return {member.name for member in members if _has_section(member, owner)}
