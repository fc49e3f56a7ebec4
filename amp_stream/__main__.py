# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{python -m amp_stream} is C{amp-stream}.
"""

from amp_stream.cli import main

main()
