# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Tests of the documentation.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent


class DocumentationTests(SynchronousTestCase):
    """
    The pages, against what they are about.
    """

    def test_states(self):
        """
        The diagrams are those of the tables.
        """
        script = runpy.run_path(str(ROOT / "docs" / "make_states.py"))
        self.assertEqual((ROOT / "docs" / "states.md").read_text(), script["page"]())

    def test_links(self):
        """
        Every relative link leads to a file.
        """
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
                self.assertTrue((page.parent / target).exists(), (page, target))
