"""How docstrings are read: names without their module, and properties that are sentences."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs
from sphinx.util.nodes import make_refnode

from tcb_async import _arguments

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment


def resolve_bare_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    """Find what a docstring calls `TcbError`, from a module that is not the one it is in."""
    target = node.get("reftarget", "")
    if node["refdomain"] != "py":
        return None
    found = env.domains.python_domain.find_obj(env, "", "", target, None, 1)
    if len({entry.node_id for _, entry in found}) != 1:
        return None
    name, entry = found[0]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def keep_first_line(app: Sphinx, what: str, *rest: object) -> None:  # noqa: ARG001 - Sphinx's
    """Keep napoleon from reading "What it is: more of it" of a property as "type: description"."""
    lines = rest[-1]
    if what == "property" and isinstance(lines, list):
        lines[:0] = ["..", ""]


def name_the_default(*event: object) -> tuple[object, object] | None:
    """Say what a private default is, and what the default of an attribute is."""
    described, _, signature, returns = event[-4:]
    if not isinstance(signature, str):
        return None

    def default(attribute: re.Match[str]) -> str:
        value = attrs.fields_dict(described)[attribute[1]].default
        return f"{value.__module__}.{value.__name__}" if callable(value) else repr(value)

    signature = signature.replace("_DEFAULT_RETRY", "RetryPolicy()")
    signature = re.sub(r"DEFAULT_\w+", lambda name: repr(getattr(_arguments, name[0])), signature)
    return re.sub(r"attr_dict\['(\w+)'\]\.default", default, signature), returns


def setup(app: Sphinx) -> dict[str, object]:
    """Listen."""
    app.connect("missing-reference", resolve_bare_name)
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)
    app.connect("autodoc-process-signature", name_the_default)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
