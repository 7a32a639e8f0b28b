"""Pages read well where people land: as plain Markdown on a forge."""

import re
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path
from runpy import run_path
from urllib.parse import unquote, urldefrag

import pytest
from markdown_it import MarkdownIt

from tcb_async import _defaults, errcodes
from tcb_async.retry import is_retryable

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
SYNTAX_OF_THE_SITE = re.compile(
    r"^(:::|!!!|\?\?\?|===|: )|^```+\{|\{[a-z:-]+\}`|^\([\w-]+\)=|^\{\.|^\[TOC\]|^--8<--|^\{%",
    re.MULTILINE,
)
MODULES = (
    *("", ".compare", ".emulator", ".fastapi", ".inventory", ".observer", ".otel", ".pagination"),
    ".tokens",
)

sys.path.append(str(ROOT / "docs" / "generate"))
GENERATE = run_path(str(ROOT / "docs" / "generate"))
EXPLAINED = run_path(str(ROOT / "docs" / "generate" / "reference.py"))["explained"]()
_SHOWN = {"softbreak": "\n", "code_inline": "`…`", "html_inline": "", "image": ""}


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def page(request):
    return request.param


@cache
def tokens_of(path):
    return MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))


def shown_in(path):
    """Yield the text that a reader of the plain page sees."""
    for token in tokens_of(path):
        if token.type == "fence":
            yield f"```{token.info}"
        elif token.type == "inline":
            yield "".join(_SHOWN.get(it.type, "{0}").format(it.content) for it in token.children)


def linked_in(path):
    for token in tokens_of(path):
        for it in token.children or ():
            if it.type in {"link_open", "image"}:
                yield it.attrs.get("href") or it.attrs["src"]


def pasted_from(path):
    """Yield the lines that a reader pastes into a shell, with the output of the commands."""
    for token in tokens_of(path):
        is_script = token.content.startswith("#!")
        if token.type == "fence" and token.info in {"shell", "console"} and not is_script:
            yield from token.content.splitlines()


@cache
def anchors_of(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_have_no_syntax_of_the_site(page):
    assert [text for text in shown_in(page) if SYNTAX_OF_THE_SITE.search(text)] == []


def test_no_pasted_command_has_a_comment(page):
    """zsh, the shell of macOS, passes a comment to the command unless its user has changed that."""
    assert [line for line in pasted_from(page) if re.search(r"(^|\s)#", line)] == []


def test_links_have_targets(page):
    broken = []
    for link in linked_in(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, anchor = urldefrag(unquote(link))
        there = page.parent / target if target else page
        if not there.exists() or (anchor and anchor not in anchors_of(there)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("folder", ["", "how-to", "reference", "explanation", "zh"])
def test_index_lists_every_page_of_its_folder(folder):
    index = ROOT / "docs" / folder / "index.md"
    listed = {(index.parent / link).resolve() for link in linked_in(index)}
    pattern = "**/*.md" if folder == "zh" else "*.md"  # zh has a folder without an index
    beside = {path for path in index.parent.glob(pattern) if path != index}
    assert beside - listed == set()


@pytest.mark.parametrize("folder", ["how-to", "reference", "explanation", "zh"])
def test_index_uses_the_titles_of_pages(folder):
    index = ROOT / "docs" / folder / "index.md"
    entries = re.findall(
        r"^- \[([^]]*)\]\((\w[\w/-]*\.md)\)", index.read_text("utf-8"), re.MULTILINE
    )
    titles = [((ROOT / "docs" / folder / page).read_text("utf-8")) for _, page in entries]
    assert [text.split("\n")[0].removeprefix("# ") for text in titles] == [it[0] for it in entries]


def test_every_page_is_in_the_menu_of_the_site():
    menu = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in PAGES if path.is_relative_to(docs)}
    assert {page for page in pages if f'"{page}"' not in menu} == set()


def test_package_metadata_has_the_readme_without_dead_links():
    shown = metadata("tcb-async").get_payload()
    assert shown.startswith("# tcb-async\n\nAn asyncio client, on aiohttp, that lists")
    assert "## Newest changes" in shown
    assert [link for link in re.findall(r"\]\(([^)]*)\)", shown) if "://" not in link] == []


def test_generated_parts_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert GENERATE["rewritten"](text) == text, "run: python docs/generate"


@pytest.mark.parametrize("page", ["how-to/retries.md", "zh/retries.md"])
def test_retries_pages_name_each_retried_errcode(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- generated: retried.*?/generated -->", text, re.DOTALL)
    retried = {code for code, row in errcodes.ERRCODES.items() if is_retryable(row.error(""))}

    named = {int(code) for code in re.findall(r"-?\d{4,}|-1\b", table)}
    assert named == retried | errcodes.STALE_TOKEN


def test_chinese_drawings_are_up_to_date():
    english = re.compile(r">[^<\u3000-\uffff]*[A-Za-z] [^<\u3000-\uffff]*</(?:text|title|desc)>")
    for path, drawing in GENERATE["drawings"]().items():
        assert path.read_text(encoding="utf-8") == drawing, "run: python docs/generate"
        assert english.findall(drawing) == []


@pytest.mark.parametrize("module", [f"tcb_async{name}" for name in MODULES])
def test_every_public_name_is_in_the_reference(module):
    public = {name for name in import_module(module).__all__ if not name.startswith("__")}
    assert public - set(EXPLAINED) == set()


DEFAULTS = {
    "attempts": _defaults.DEFAULT_ATTEMPTS,
    "base": _defaults.DEFAULT_BACKOFF,
    "cap": _defaults.DEFAULT_BACKOFF_CAP,
    "deadline": _defaults.DEFAULT_DEADLINE,
    "timeout": _defaults.DEFAULT_TIMEOUT,
    "concurrency": _defaults.DEFAULT_CONCURRENCY,
}


def told_defaults(text):
    """Yield names and defaults, as in "`deadline` (60 s)" or "| `base`, `cap` | 1 s, 20 s |"."""
    # In Chinese, there may be a noun before the parenthesis, and 默认 (by default) in it.
    yield from re.findall(r"`(\w+)` ?\w?[^\w\s`](?:默认 ?)?(\d+)(?: s| 秒)?\W", text)
    for names, values in re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \| ([\d s,]+) \|", text, re.MULTILINE
    ):
        yield from zip(re.findall(r"\w+", names), re.findall(r"\d+", values), strict=True)


def test_defaults_in_prose_equal_the_code():
    told = [
        (page, name, float(number))
        for page in PAGES
        for name, number in told_defaults(page.read_text(encoding="utf-8"))
        if name in DEFAULTS
    ]

    assert [fact for fact in told if fact[2] != DEFAULTS[fact[1]]] == []
    assert {page.parent.name for page, *_ in told} >= {"how-to", "zh"}
    assert {name for _, name, _ in told} == DEFAULTS.keys()
