# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Build the sdist and the wheel, check both, and run tests from the unpacked sdist.

    python .ci/package.py DIRECTORY

DIRECTORY gets the two files.  "tox -e package" has what this needs.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# Those that read other files of the checkout, and a few that are quick.
TESTS = [
    "docs",
    "errors",
    "exports",
    "config",
    "sansio_stream_states",
    "arguments_stream",
    "vectors",
]

IMPORT_TESTS = """
from importlib import import_module
from pathlib import Path
for path in Path("tests").glob("test_*.py"):
    import_module(f"tests.{path.stem}")
"""


def python(*arguments: str, cwd: str | Path | None = None) -> None:
    """Run Python, and end if it fails."""
    print("python", *arguments, flush=True)
    status = subprocess.call([sys.executable, *arguments], cwd=cwd)
    if status:
        sys.exit(status)


def main(directory: Path) -> None:
    """Do all of it."""
    if directory.is_dir() and any(directory.iterdir()):
        sys.exit(f"{directory} is not empty; the release would get what is in it")
    # The wheel is built from the sdist, so that is complete enough to build it.
    python("-m", "build", "--no-isolation", "--outdir", str(directory))
    built = sorted(map(str, directory.iterdir()))
    python("-m", "twine", "check", "--strict", *built)
    (sdist,) = directory.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as unpacked, tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
        (root,) = Path(unpacked).iterdir()
        python("-c", IMPORT_TESTS, cwd=root)
        chosen = [f"tests.test_{each}" for each in TESTS]
        python("-m", "twisted.trial", *chosen, cwd=root)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
