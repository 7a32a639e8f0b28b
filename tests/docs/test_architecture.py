"""The page about the architecture names what the code has."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tcb_async"
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
WORDS = re.findall(r"^\| (.+?) \| .+? \| `([\w/]+\.py)` \|$", PAGE, re.MULTILINE)
"""The words of the walk, and the file of each."""


def classes_of(path):
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def test_each_class_of_the_walk_is_a_word():
    named = {(word.strip("`"), file) for word, file in WORDS if word.startswith("`")}
    classes = {
        (name, f"pagination/{path.name}")
        for path in (PACKAGE / "pagination").glob("*.py")
        for name in classes_of(path)
    }

    assert classes == {(name, file) for name, file in named if file.startswith("pagination/")}
    for name, file in named:
        assert name in classes_of(PACKAGE / file)


def test_a_walk_needs_at_most_35_words():
    assert 20 < len(WORDS) <= 35
