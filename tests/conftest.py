# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Options and fixtures that give the tests under pytest what trial gives them.

A test, or a C{TestCase}, with C{exploration = True} runs long or random histories, or
does the same thousands of times.
Other tests reach the same lines, and measuring coverage would triple its time. So
C{--explorations=without} and C{--explorations=only} let tox measure the other tests,
and run these beside them.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add C{--explorations}."""
    parser.addoption(
        "--explorations",
        choices=("with", "without", "only"),
        default="with",
        help="which tests to run: those of long or random histories, too?",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Choose the tests that C{--explorations} asks for."""
    wanted = config.getoption("explorations")
    if wanted == "with":
        return
    kept, others = [], []
    for item in items:
        explores = any(
            getattr(getattr(item, which, None), "exploration", False)
            for which in ("cls", "function")
        )
        (kept if explores == (wanted == "only") else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Succeed when C{--explorations} left none of the tests that were named."""
    nothing = session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
    if nothing and session.config.getoption("explorations") == "only":
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture(autouse=True)
def temporaryDirectory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Run each test in a directory of its own, where C{TestCase.mktemp} leaves no mark
    on the checkout.
    """
    monkeypatch.chdir(tmp_path)
