# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
What a responder gave, as a box to answer with.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

__all__ = ["answerThere", "asAnswer", "asError"]

_log = Logger()


def answerThere(result: Deferred[Any]) -> amp.AmpBox | None:
    """
    @return: The answer that a Deferred has been fired with, if nothing more is to be
        done to it; L{None} if it has not been fired yet, or has failed.
    """
    fired: Any = result
    answer = getattr(fired, "result", None)
    if not isinstance(answer, amp.AmpBox) or fired.paused or fired._runningCallbacks:
        return None
    return answer


def asAnswer(answer: amp.AmpBox, tag: bytes) -> amp.AmpBox:
    """
    Say what a box answers.

    @param tag: The C{_ask} of the command.

    @return: The same box.
    """
    answer[amp.ANSWER] = tag
    return answer


def asError(failure: Failure, tag: bytes) -> amp.AmpBox:
    """
    Write the failure of a responder.

    @param tag: The C{_ask} of the command.

    @return: A box, with which the connection ends if the failure is fatal, or is one
        that the command does not declare: that is logged.
    """
    error: Any = failure.value
    if isinstance(error, amp.RemoteAmpError):
        box = amp.QuitBox() if error.fatal else amp.AmpBox()
        code, text = error.errorCode, error.description
        if isinstance(text, str):
            text = text.encode("utf-8", "replace")
    else:
        _log.failure("while a command was carried out", failure)
        box = amp.QuitBox()
        code, text = amp.UNKNOWN_ERROR_CODE, b"Unknown Error"
    box[amp.ERROR] = tag
    box[amp.ERROR_CODE] = code
    box[amp.ERROR_DESCRIPTION] = text
    return box
