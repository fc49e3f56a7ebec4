# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What the rules want to be sent: the control messages of the stream layer.

The names are those of the AMP commands that carry them, which are QUIC's (RFC
9000, section 19).
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["Frame", "MaxStreamData", "ResetStream", "StopSending"]


@frozen
class MaxStreamData:
    """
    The receiver will take the bytes below C{maximum}.
    """

    id: int
    maximum: int


@frozen
class ResetStream:
    """
    The sender gives up after C{finalSize} bytes, for the reason of C{code}.
    """

    id: int
    code: bytes
    finalSize: int


@frozen
class StopSending:
    """
    The receiver gives up, for the reason of C{code}.
    """

    id: int
    code: bytes


Frame = MaxStreamData | ResetStream | StopSending
