# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""C{amp-stream}, which C{python -m amp_stream} is, too."""

import sys
from importlib.util import find_spec
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command, or tell how to install the packages that it needs."""
    missing = [name for name in ("click", "tqdm") if find_spec(name) is None]
    if missing:
        sys.exit(
            f"amp-stream: the command line needs {' and '.join(missing)}: "
            "pip install 'amp_stream[cli,http]'"
        )
    from amp_stream.files._cli import main as run

    run()


if __name__ == "__main__":
    main()
