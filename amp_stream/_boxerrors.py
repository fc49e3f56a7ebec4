# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Errors found while a box is parsed, in the form that AMP deals with best.

When parsing the arguments of a request fails, C{amp.AMP} answers the caller and
keeps the connection only if the exception is a C{RemoteAmpError}; after any
other it hangs up.  When parsing a response fails, the exception goes to the
caller's Deferred, and there a C{RemoteAmpError} would lose its class.

The box tells which of the two it is: a response has the key C{_answer}.  An item
of an C{AmpList} or C{ListOf} has no key that tells, and counts as a request: an
error that lost its class is better than a lost connection.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager

from twisted.protocols.amp import ANSWER, RemoteAmpError
from twisted.python.failure import Failure

from amp_stream.errors import StreamError

__all__ = ["boxErrors"]


@contextmanager
def boxErrors(box: Container[bytes] = ()) -> Iterator[None]:
    """
    Parse within this, and every L{StreamError} leaves it in the right form.

    @param box: The box that is parsed; nothing, if it is not known.

    @raise StreamError: As it was raised, if the box is a response.

    @raise RemoteAmpError: With the code and the text of the L{StreamError}, if it
        is a request, or part of a box of either kind.
    """
    try:
        yield
    except StreamError as error:
        if ANSWER in box:
            raise
        raise RemoteAmpError(
            error.code, str(error), fatal=False, local=Failure(error)
        ) from error
