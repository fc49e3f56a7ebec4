# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The codes that an application gives a stream up with.
"""

from __future__ import annotations

from amp_stream.errors import StreamError, UsageError, errorForCode

__all__ = ["MAX_CODE", "errorToAbortWith"]

MAX_CODE = 255
"""
The longest code (bytes).
"""


def errorToAbortWith(code: bytes) -> StreamError:
    """
    Make the exception that a code of the application stands for.

    @param code: A code of L{amp_stream.errors}, or one of its own.

    @raise UsageError: If no peer would take it.
    """
    if not isinstance(code, bytes) or not 0 < len(code) <= MAX_CODE:
        raise UsageError(f"an error code is 1 to {MAX_CODE} bytes, not {code!r}")
    return errorForCode(code)
