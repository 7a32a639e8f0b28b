"""English and Chinese: a page links to its translation; drawings speak the page's language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

if TYPE_CHECKING:
    from docutils.nodes import Node
    from sphinx.application import Sphinx

IN_THE_THEME = {
    "Home": "首页",
    "Next": "下一页",
    "On this page": "本页内容",
    "Previous": "上一页",
    "Search": "搜索",
}
_ENGLISH = re.compile(r"(?<=>)(?=[^<]*[A-Za-z] )[^<\u3000-\uffff]+(?=</(?:text|title|desc)>)")


class Drawing(SphinxDirective):
    """A drawing of ``docs/drawings``, within the page so that it has the theme's colours."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """Read it; on a page in Chinese, each text is what its ``data-zh`` says."""
        path = Path(self.env.srcdir, "drawings", f"{self.arguments[0]}.svg")
        self.env.note_dependency(str(path))
        svg = path.read_text(encoding="utf-8")
        if self.env.docname.startswith("zh/"):
            svg = re.sub(r' data-zh="([^"]*)">[^<]*', r">\1", svg)
            if english := _ENGLISH.search(svg):
                raise ExtensionError(f"{path.name} has no Chinese for {english[0]!r}")
        return [nodes.raw("", re.sub(r' data-zh="[^"]*"', "", svg), format="html")]


def translations(pages: set[str]) -> dict[str, str]:
    """Find the Chinese page of each page in English that has one."""
    pairs = {}
    for page in sorted(pages):
        if not page.startswith("zh/"):
            continue
        name = page.removeprefix("zh/")
        places = [f"{folder}{name}" for folder in ("", "how-to/", "reference/")]
        english = next((place for place in places if place in pages), None)
        if english is None:
            raise ExtensionError(f"{page} has no page in English")
        pairs[english] = page
    return pairs


def separate_languages(
    app: Sphinx,
    page: str,
    template: str,  # noqa: ARG001 - Sphinx's
    context: dict[str, Any],
    *_: object,
) -> None:
    """Link a page to its translation, and no page to a next one in the other language."""
    to_chinese = translations(app.env.found_docs)
    to_english = {chinese: english for english, chinese in to_chinese.items()}
    if page in to_chinese:
        _link(context, page, to_chinese[page], "zh-CN", "中文")
    elif page in to_english:
        context["language"] = "zh-CN"  # so that browsers pick its glyphs
        context["_"] = _in_chinese
        _link(context, page, to_english[page], "en", "English")
    if page == "zh/index":
        context["prev"] = None
    elif not page.startswith("zh/") and "zh/" in (context.get("next") or {}).get("link", ""):
        context["next"] = None


def _in_chinese(words: str) -> str:
    return IN_THE_THEME.get(words, words)


def _link(context: dict[str, Any], page: str, other: str, language: str, name: str) -> None:
    target = relative_uri(f"{page}.html", f"{other}.html")
    link = f'<a href="{target}" lang="{language}" hreflang="{language}">{name}</a>'
    # A headerlink, so that the search does not quote it.
    context["body"] = f'<p class="translation headerlink">{link}</p>\n{context["body"]}'


def setup(app: Sphinx) -> dict[str, object]:
    """Listen."""
    app.add_directive("drawing", Drawing)
    app.connect("html-page-context", separate_languages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
