# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The codes of errors, for tests that look closer than at the public class."""

from __future__ import annotations

from amp_stream.errors import StreamError, errorForCode


def classOf(code: bytes) -> type[StreamError]:
    """Find the class that only errors with a certain code have."""
    return type(errorForCode(code))
