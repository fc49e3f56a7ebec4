# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What C{amp.AMP} raises for a box that it cannot write, and what this package says
about it: both at once.
"""

from __future__ import annotations

from twisted.protocols import amp

from amp_stream._sansio.boxes import MAX_KEY, MAX_SEGMENT
from amp_stream.errors import KeyTooLong, OversizeValue

__all__ = ["OversizeValueTooLong", "localError"]


class OversizeValueTooLong(OversizeValue, amp.TooLong):
    """
    A value that cannot be sent to this peer, for those who expect C{amp.TooLong}.
    """

    def __init__(self, message: str, key: bytes, value: bytes) -> None:
        # Not the constructor of OversizeValue: the next after it is that of TooLong,
        # which wants other arguments.
        Exception.__init__(self, message)
        self.code = self.wireCode
        self.isKey = False
        self.isLocal = True
        self.value = value
        self.keyName = key


def localError(error: BaseException, box: amp.AmpBox) -> BaseException:
    """
    @param error: What came of writing a box.

    @return: The exception to raise.
    """
    if isinstance(error, OversizeValue):
        for key, value in sorted(box.items()):
            if len(value) > MAX_SEGMENT:
                return OversizeValueTooLong(str(error), key, value)
    if isinstance(error, KeyTooLong):
        for key in sorted(box):
            if not 0 < len(key) <= MAX_KEY:
                return amp.TooLong(True, True, key, None)
    return error
