"""The program of README, alone in an empty folder."""

import re
import sys
from pathlib import Path

import pytest
from doc_examples import ran

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_program_works_alone(name, tmp_path, monkeypatch):
    readme = (ROOT / name).read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    Path("first.py").write_text(program, encoding="utf-8")

    assert ran(sys.executable, "first.py").count("\n") == 48
