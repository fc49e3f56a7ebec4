# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The names that the package exports, and the cost of importing it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

import amp_stream
from tests.modules import PACKAGE, moduleNames

IMPORT_ALL = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
    if "twisted.internet.reactor" in sys.modules:
        sys.exit(name + " installs a reactor")
print(len(sys.argv) - 1, "imported")
"""

LIGHT = """
import sys
import amp_stream.files
print([name for name in ("click", "tqdm") if name in sys.modules])
"""

COPYRIGHT = "# Copyright (c) the amp_stream authors.  See LICENSE for details.\n"


def importable() -> list[str]:
    """Find the modules that are meant for importing, not for running."""
    return [name for name in moduleNames() if not name.endswith(".__main__")]


class ExportTests(SynchronousTestCase):
    """The names in C{__all__}."""

    def test_all(self) -> None:
        """
        The public modules are five, and each lists its exports in C{__all__}; each of
        these exists.  Every other module has a name with an underscore.
        """
        public = [name for name in moduleNames() if "._" not in name]
        self.assertEqual(
            public,
            [
                "amp_stream",
                "amp_stream.errors",
                "amp_stream.files",
                "amp_stream.outofband",
                "amp_stream.testing",
            ],
        )
        for name in public:
            module = import_module(name)
            self.assertTrue(module.__doc__, f"{name} has no docstring")
            exported = getattr(module, "__all__", None)
            self.assertIsNotNone(exported, f"{name} has no __all__")
            self.assertEqual(len(exported), len(set(exported)), name)
            for each in exported:
                self.assertTrue(hasattr(module, each), f"{name} has no {each}")

    def test_package(self) -> None:
        """The package exports what its documentation promises."""
        promised = """
            AmpList BigString BigUnicode Chunk IncomingStream Limits ListOf OutOfBand
            OutgoingStream Stream StreamAMP StreamChunk StreamConfig StreamConnection
            StreamReceiver __version__ errors
        """
        self.assertEqual(set(promised.split()), set(amp_stream.__all__))

    def test_firstLine(self) -> None:
        """Every file begins with the copyright line."""
        for path in PACKAGE.rglob("*.py"):
            with path.open(encoding="utf-8") as source:
                self.assertEqual(source.readline(), COPYRIGHT, str(path))


class LightTests(SynchronousTestCase):
    """Importing the package imports no more than it must."""

    def test_core(self) -> None:
        """
        Importing C{amp_stream} imports no HTTP and no command line, and nothing of TLS
        that Twisted's AMP does not import.
        """
        heavy = ("twisted.web", "h11", "click", "tqdm", "amp_stream.outofband")
        program = (
            "import sys, amp_stream\n"
            f"print([name for name in sys.modules if name.startswith({heavy})])"
        )
        result = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
        )
        self.assertEqual((result.stdout, result.stderr), ("[]\n", ""))

    def test_noCommandLine(self) -> None:
        """
        Importing C{amp_stream}, C{amp_stream.files} included, imports neither click nor
        tqdm, which only the command line needs.
        """
        result = subprocess.run(
            [sys.executable, "-c", LIGHT],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
        )
        self.assertEqual((result.stdout, result.stderr), ("[]\n", ""))


class ReactorTests(SynchronousTestCase):
    """The application chooses the reactor."""

    def test_noReactor(self) -> None:
        """Importing the package, or any module of it, installs no reactor."""
        result = subprocess.run(
            [sys.executable, "-c", IMPORT_ALL, *importable()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
        )
        self.assertEqual(
            (result.returncode, result.stdout, result.stderr),
            (0, f"{len(importable())} imported\n", ""),
        )
