"""What a reader of the documentation's files is promised.

Its examples are run by Sybil: see the ``conftest.py`` at the top. The site is in ``test_site.py``.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LISTING = (
    "python3 -m venv .venv && .venv/bin/pip install -q '.[cli]' && .venv/bin/tcb-async list --demo"
)
TESTING = (
    "python3 -m venv .venv && .venv/bin/pip install --require-hashes -r constraints-test.txt && "
    ".venv/bin/pip install --no-deps . && .venv/bin/pytest -n 3"
)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_each_readme_begins_with_one_command_to_list_and_one_to_test(readme):
    lines = (ROOT / readme).read_text(encoding="utf-8").split("\n")
    assert lines.index(LISTING) < lines.index(TESTING)


def test_the_two_readmes_show_the_same_programs():
    def blocks(readme):
        text = (ROOT / readme).read_text(encoding="utf-8")
        return re.findall(r"^```.*?^```", text, flags=re.DOTALL | re.MULTILINE)

    assert blocks("README.md") == blocks("README.zh-CN.md")
