# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The installed distribution, seen from another directory as its users see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.modules import CHECKOUT, moduleNames

DESCRIBE = """
import json
from importlib import metadata
installed = metadata.distribution("amp_stream")
print(json.dumps({
    "name": installed.metadata["Name"],
    "version": installed.version,
    "license": str(installed.metadata.get_all("License-File")),
    "python": installed.metadata["Requires-Python"],
    "requires": installed.requires,
    "files": [path.as_posix() for path in installed.files or ()],
    "scripts": {
        each.name: each.value
        for each in installed.entry_points if each.group == "console_scripts"
    },
    "direct": json.loads(installed.read_text("direct_url.json") or "{}"),
}))
"""


class InstalledTests(SynchronousTestCase):
    """The distribution installed in the tests' environment."""

    def setUp(self) -> None:
        """
        Describe the distribution from an empty directory; skip if it is not
        installed.
        """
        self.elsewhere = Path(self.mktemp())
        self.elsewhere.mkdir()
        described = self.python("-c", DESCRIBE)
        if described.returncode:
            raise SkipTest("amp_stream is not installed as a distribution")
        self.installed: dict[str, Any] = json.loads(described.stdout)
        if self.installed["direct"].get("dir_info", {}).get("editable"):
            raise SkipTest("amp_stream is installed as editable")

    def run_(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the empty directory, without the paths of the tests."""
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            command, cwd=self.elsewhere, env=environ, capture_output=True, text=True
        )

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python there."""
        return self.run_(sys.executable, *arguments)

    def test_metadata(self) -> None:
        """
        The metadata has the package's version and license, and a lower bound for each
        dependency.
        """
        version = self.python("-c", "import amp_stream as a; print(a.__version__)")
        self.assertEqual(version.stdout.strip(), self.installed["version"])
        self.assertIn("LICENSE", self.installed["license"])
        self.assertEqual(self.installed["python"], ">=3.10")
        needed = [each for each in self.installed["requires"] if "extra ==" not in each]
        self.assertEqual(
            {each.split(">=")[0].strip().lower() for each in needed},
            {"attrs", "twisted", "zope.interface"},
        )

    def test_files(self) -> None:
        """
        The distribution has the typed package and the plugin, and no file that would
        hide Twisted or a C{tests} package.
        """
        files = [each for each in self.installed["files"] if not each.endswith(".pyc")]
        self.assertIn("amp_stream/py.typed", files)
        self.assertIn("twisted/plugins/amp_stream_plugin.py", files)
        self.assertNotIn("twisted/__init__.py", files)
        self.assertNotIn("twisted/plugins/__init__.py", files)
        tops = {each.split("/")[0] for each in files}
        self.assertEqual(
            {top for top in tops if top != ".." and ".dist-info" not in top},
            {"amp_stream", "twisted"},
        )

    def test_allModules(self) -> None:
        """Each module of the checkout is installed."""
        if not (CHECKOUT / "setup.cfg").exists():
            raise SkipTest("the tests are not in a checkout")
        files = set(self.installed["files"])
        for path in moduleNames(CHECKOUT / "amp_stream").values():
            self.assertIn(path.relative_to(CHECKOUT).as_posix(), files)

    def test_command(self) -> None:
        """C{amp-stream} is on the path, and its help describes it."""
        self.assertEqual(
            self.installed["scripts"], {"amp-stream": "amp_stream.__main__:main"}
        )
        command = os.path.join(sysconfig.get_path("scripts"), "amp-stream")
        shown = self.run_(command, "--help")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        for word in (
            "put",
            "get",
            "ls",
            "stat",
            "rm",
            "ping",
            "ticket",
            "bench",
            "demo",
        ):
            self.assertRegex(shown.stdout, rf"(?m)^ +{word}\b")

    def test_plugin(self) -> None:
        """C{twistd} lists C{amp-stream} beside its own plugins."""
        command = os.path.join(sysconfig.get_path("scripts"), "twistd")
        shown = self.run_(command, "--help")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertRegex(shown.stdout, r"(?m)^ +amp-stream +\S")
        self.assertRegex(shown.stdout, r"(?m)^ +web +\S")
        self.assertNotIn("Traceback", shown.stderr)
        shown = self.run_(command, "amp-stream", "--help")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        for option in ("--listen", "--root", "--max-file-size", "--oob-listen"):
            self.assertIn(option, shown.stdout)


class VersionTests(SynchronousTestCase):
    """The version has one source."""

    def test_distribution(self) -> None:
        """
        The metadata and the module have the same version, wherever the package is
        installed.
        """
        import amp_stream

        try:
            version = metadata.version("amp_stream")
        except metadata.PackageNotFoundError:
            raise SkipTest("amp_stream is not installed as a distribution") from None
        self.assertEqual(version, amp_stream.__version__)
