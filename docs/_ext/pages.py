"""Pages are plain Markdown, which reads well on any forge; what only the site needs is added here.

Rule: what only Sphinx understands is in a comment of the page: ``<!--{directive} …-->``, or
``<!--{.class}-->``. What only a forge should show is between ``<!--forge-->`` and
``<!--/forge-->``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_FORGE_ONLY = re.compile(r"<!--forge-->.*?<!--/forge-->\n?", re.DOTALL)
_SITE_ONLY = re.compile(r"<!--(\{.*?)-->", re.DOTALL)
_DRAWING = re.compile(r"^!\[[^]]*\]\((?:\.\./)*drawings/([\w-]+)\.svg\)$", re.MULTILINE)
_ALERT = re.compile(r"^> \[!(\w+)\]\n((?:>.*\n)+)", re.MULTILINE)
_LISTED = re.compile(r"^(?:- )?\[[^]]*\]\(([\w/-]+)\.md\)", re.MULTILINE)


def read_page(app: Sphinx, page: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx's
    """Turn a page as a forge shows it into what Sphinx reads."""
    text = _FORGE_ONLY.sub("", source[0])
    text = _DRAWING.sub(r"```{drawing} \1\n```", text)
    text = _ALERT.sub(_admonition, text)
    listed = "\n".join(dict.fromkeys(_LISTED.findall(text)))
    source[0] = _SITE_ONLY.sub(lambda comment: _directive(comment[1], listed), text)


def _directive(text: str, listed: str) -> str:
    if not re.match(r"\{[a-z]", text):
        return text  # the class of what follows
    if text == "{toctree}":  # of the pages that this one lists
        text = f"{text}\n:hidden:\n\n{listed}"
    return f"`````{text}\n`````"


def _admonition(alert: re.Match[str]) -> str:
    text = re.sub(r"^> ?", "", alert[2], flags=re.MULTILINE)
    return f":::{{{alert[1].lower()}}}\n{text}:::\n"


class LinkedNames(SphinxPostTransform):
    """Link a public name in code, such as `TcbClient`, to where the reference explains it."""

    default_priority = 5

    def run(self, **_: object) -> None:
        """Replace each such code by a link."""
        python = self.env.domains.python_domain
        page = self.env.current_document.docname
        for code in list(self.document.findall(nodes.literal)):
            name = code.astext().removeprefix("await ").partition("(")[0]
            if isinstance(code.parent, nodes.reference) or not re.fullmatch(r"[A-Za-z_.]+", name):
                continue
            entry = python.objects.get(f"tcb_async.{name}")
            if entry is not None and entry.docname != page:
                link = make_refnode(
                    self.app.builder, page, entry.docname, entry.node_id, code.deepcopy()
                )
                code.replace_self(link)


def setup(app: Sphinx) -> dict[str, object]:
    """Listen."""
    app.connect("source-read", read_page)
    app.add_post_transform(LinkedNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
