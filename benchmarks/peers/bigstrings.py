# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
amp_stream's C{BigString}.
"""

from __future__ import annotations

from functools import partial

from amp_stream import BigString, Limits, StreamAMP
from benchmarks.peers.bigvalues import BigValues

__all__ = ["Big"]

_MOST = 2**27


class Big(BigValues):
    """
    That, on C{StreamAMP}, with room for values of 128 MiB.
    """

    argument = BigString(maxSize=_MOST)
    protocol = partial(StreamAMP, limits=Limits(maxBoxSize=_MOST + 65536))
