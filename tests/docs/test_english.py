"""The package, the pages, the tests and nightly/ are written in plain English.

Rule: the counts are a thermometer. They mark clauses in place of nouns ("what is raised"), vague
pronouns ("one that", "whose") and negations ("is no list"); a reader decides about each sentence.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARKS = {
    "what": r"(?i)\bwhat(?:ever)?\b",
    "who": r"(?i)\b(?:whose|whom|who|whoever)\b",
    "one that": r"(?i)\b(?:one|those) (?:that|of|who|in|which|is|are)\b|\bth(?:at|ose) of\b",
    "opening": r"(?:^|(?<=[.:;!?] ))(?:What|Of|Who|Whose|Whom|Those|One (?:that|of|who|which)) ",
    "is no": r"(?i)\b(?:is|are|was|were) (?:no|none)\b",
}
PER_10_000 = {"what": 25, "who": 6, "one that": 8, "opening": 6, "is no": 6}
_QUOTES = re.compile(r"^[rbfuRBFU]*(\"{3}|'{3}|\"|')|(\"{3}|'{3}|\"|')$|^#+ ?")
_NOT_PROSE = re.compile(r"(?ms)^```.*?^```|<!--.*?-->|`[^`\n]*`")


def lines_of_prose(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return _NOT_PROSE.sub("", text).splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", None)}
    texts = (_QUOTES.sub("", token.string) for token in tokens if token.type in kinds)
    return [line.strip() for text in texts for line in text.splitlines()]


def marks_per_10_000_words(paths):
    lines = [line for path in paths for line in lines_of_prose(path)]
    words = sum(len(re.findall(r"[A-Za-z][A-Za-z']*", line)) for line in lines)
    counts = {
        mark: sum(len(re.findall(pattern, line)) for line in lines)
        for mark, pattern in MARKS.items()
    }
    return {mark: count * 10_000 / words for mark, count in counts.items()}


@pytest.mark.parametrize(
    "paths", ["tcb_async/**/*.py", "docs/**/*.md", "tests/**/*.py", "nightly/**/*.py"]
)
def test_the_prose_has_few_marks_of_a_dialect(paths):
    files = {path for path in ROOT.glob(paths) if "zh" not in path.parts} - {Path(__file__)}

    marks = marks_per_10_000_words(files)

    assert {mark: n for mark, n in marks.items() if n > PER_10_000[mark]} == {}


def test_the_marks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("What is raised is no list.\nOne that waits, whose turn it is.\n`what`\n")

    assert all(count > 0 for count in marks_per_10_000_words([page]).values())
