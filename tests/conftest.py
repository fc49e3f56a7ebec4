# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What pytest must do so that the tests find what trial gives them.
"""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def temporaryDirectory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Run each test in a directory of its own, where C{TestCase.mktemp} leaves no mark
    on the checkout.
    """
    monkeypatch.chdir(tmp_path)
