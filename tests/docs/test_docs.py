"""What a reader of the documentation's files is promised.

Its examples are run by Sybil: see the ``conftest.py`` at the top. The site is in ``test_site.py``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from urllib.parse import urldefrag

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MARKDOWN = [
    *sorted(ROOT.glob("*.md")),
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
LISTING = (
    "python3 -m venv .venv && .venv/bin/pip install -q '.[cli]' && .venv/bin/tcb-async list --demo"
)
TESTING = (
    "python3 -m venv .venv && .venv/bin/pip install --require-hashes -r constraints-test.txt && "
    ".venv/bin/pip install --no-deps . && .venv/bin/pytest -n 3"
)


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_files_lead_somewhere_in_the_repository_too(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target, anchor = urldefrag(link)
        there = DOCS / target[1:] if target.startswith("/") else path.parent / target
        there = there if target else path
        named = not anchor or there.suffix != ".md" or anchor in anchors_of(there)
        if not (there.exists() and named):
            broken.append(link)
    assert broken == []


def anchors_of(path):
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE))


def test_every_promise_names_a_test_that_there_is():
    page = (DOCS / "reference" / "promises.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", page))
    assert named
    missing = {f"{file}::{name}" for file, name in named if name not in names_in(file)}
    assert missing == set()


def names_in(file):
    path = ROOT / "tests" / file
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_each_readme_begins_with_one_command_to_list_and_one_to_test(readme):
    lines = (ROOT / readme).read_text(encoding="utf-8").split("\n")
    assert lines.index(LISTING) < lines.index(TESTING)


def test_the_two_readmes_show_the_same_programs():
    def blocks(readme: str) -> list[str]:
        text = (ROOT / readme).read_text(encoding="utf-8")
        return re.findall(r"^```.*?^```", text, flags=re.DOTALL | re.MULTILINE)

    assert blocks("README.md") == blocks("README.zh-CN.md")
