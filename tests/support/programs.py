"""The programs and packages that some tests need, and how to install them.

Rule: a test without its program is skipped, and the reason tells how to install the program.
Under ``CI`` every skip is a failure, so that nothing goes untested unnoticed.
"""

import glob
import importlib
import os
import shutil
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

_ELSEWHERE = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))
_NAMES = {"postgresql": "initdb"}
_FOLDERS = {"postgresql": "/usr/lib/postgresql/*/bin"}


def path_of(program):
    """Where a program is; None if this machine lacks it.

    Args:
        program: The name of its Debian package; for ``postgresql``, ``initdb`` is returned.
    """
    folders = [os.environ.get("PATH", os.defpath), _ELSEWHERE]
    folders += sorted(glob.glob(_FOLDERS.get(program, "")), reverse=True)  # noqa: PTH207 - no root
    path = os.pathsep.join(folders)
    return shutil.which(_NAMES.get(program, program), path=path)


def needs(program):
    """The path of a program, as of ``needs("redis-server")``.

    Without it, skips the test with the package to install.
    """
    path = path_of(program)
    if path is None:
        pytest.skip(
            f"{program} is not installed: apt install {program} (or: brew install {program})"
        )
    return path


def needs_package(module):
    """Import a module that ``test`` lacks; skips the test if its package is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        pytest.skip(lacking(error.name))


def lacking(package):
    return f"{package} is not installed: pip install -r requirements-nightly.txt"


def fail_if_skipped_in_ci(report):
    """Turn the report of a skipped test into a failure, if this is CI."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (under CI, whatever is skipped has failed)"
    return report
