"""Pages are plain Markdown, which reads well on any forge; what only the site needs is added here.

Rule: what only Sphinx understands is in a comment of the page: ``<!--{directive} …-->``, or
``<!--{.class}-->``. What only a forge should show is between ``<!--forge-->`` and
``<!--/forge-->``. Each page is also in the site as Markdown, and ``llms.txt`` lists them.
"""

from __future__ import annotations

import re
from pathlib import Path
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
_INCLUDED = re.compile(r"<!--\{(literalinclude|include)\} (\S+)(.*?)-->", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
_ENTRY = re.compile(r"^- \[([^]]*)\]\(([\w/-]+\.md)\)(.*(?:\n  .*)*)", re.MULTILINE)
_INDEXES = ("index", "how-to/index", "explanation/index", "reference/index", "zh/index")
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


def write_markdown(app: Sphinx, failure: Exception | None) -> None:
    """Write each page as Markdown beside its HTML, and ``llms.txt``, which lists them."""
    if failure is not None or app.builder.format != "html":
        return
    for page in app.env.found_docs:
        source = Path(app.env.doc2path(page))
        text = _FORGE_ONLY.sub("", source.read_text(encoding="utf-8"))
        text = _INCLUDED.sub(lambda found, at=source.parent: _file(at, *found.groups()), text)
        Path(app.outdir, f"{page}.md").write_text(_COMMENT.sub("", text), encoding="utf-8")
    listed = "\n\n".join(_listing(app, index) for index in _INDEXES)
    Path(app.outdir, "llms.txt").write_text(f"{listed}\n", encoding="utf-8")


def _file(folder: Path, kind: str, name: str, options: str) -> str:
    text = (folder / name).read_text(encoding="utf-8")
    for option, part in ("start-at", r"(?s).*?(?={})"), ("end-before", r"(?s)(?={}).*"):
        if wanted := re.search(f":{option}: (.*)", options):
            text = re.sub(part.format(re.escape(wanted[1].strip('"'))), "", text, count=1)
    return text if kind == "include" else f"```{Path(name).suffix[1:]}\n{text.rstrip()}\n```"


def _listing(app: Sphinx, index: str) -> str:
    """List the pages of an index page, with addresses relative to the site."""
    text = Path(app.env.doc2path(index)).read_text(encoding="utf-8")
    title, summary, *_ = text.split("\n\n")
    head = "\n> ".join([f"{title}\n", *summary.split("\n")]) if index == "index" else f"#{title}"
    folder = index.removesuffix("index")
    entries = [f"- [{name}]({folder}{link}){rest}" for name, link, rest in _ENTRY.findall(text)]
    return "\n".join([head, "", *entries])


def setup(app: Sphinx) -> dict[str, object]:
    """Listen."""
    app.connect("source-read", read_page)
    app.connect("build-finished", write_markdown)
    app.add_post_transform(LinkedNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
