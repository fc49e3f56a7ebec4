# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Calls in progress, at both ends: the answers to them, and the end of their streams.

A call takes its streams with it: when it fails or is cancelled, the streams that it
announced are stopped, and when it has been answered, those that the responder has not
taken are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._boxes import StreamBox
from amp_stream._incoming import IncomingStream
from amp_stream._outgoing import Announcement
from amp_stream._sansio.boxes import MAX_SEGMENT
from amp_stream._sansio.frames import parseNumber
from amp_stream.errors import (
    STREAM_ERRORS,
    CallFailed,
    OutOfBandError,
    SourceFailed,
    StreamAborted,
    StreamCancelled,
    StreamError,
    UsageError,
)

_log = Logger()

_MAX_TEXT = MAX_SEGMENT
"""
The most bytes of the text of an error for a peer that is not known to read more.
"""


def resultIfFired(result: Deferred[Any]) -> amp.AmpBox | None:
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


def cutText(box: amp.AmpBox) -> None:
    """Cut the text of an error, between two characters, to what C{amp.AMP} can send."""
    text = box.get(amp.ERROR_DESCRIPTION, b"")
    if len(text) > _MAX_TEXT:
        _log.warn("an error's text of {size} bytes is cut for the peer", size=len(text))
        text = text[:_MAX_TEXT].decode("utf-8", "ignore").encode("utf-8")
        box[amp.ERROR_DESCRIPTION] = text


def answerable(failure: Failure, lost: Failure | None) -> Failure:
    """
    Give AMP the failure of a responder in the form after which it does not hang
    up.  One that comes from the loss of the connection is no news: it is given
    as an error, too, so that nothing is logged for each stream.

    @param lost: Why the connection is gone, or L{None} while it is not.
    """
    error: BaseException | None = failure.value
    if lost is not None and error is lost.value:
        error = StreamAborted("the connection was lost")
    if isinstance(error, amp.BadLocalReturn):
        # The response could not be made: for a stream, perhaps because its
        # source cannot be opened.
        error = error.enclosed.value
    if isinstance(error, StreamError):
        return Failure(
            amp.RemoteAmpError(error.code, str(error), fatal=False, local=failure)
        )
    return failure


def commandFailed(
    failure: Failure, box: amp.AmpBox, lost: Failure | None
) -> Failure | None:
    """
    A responder has failed.  AMP would close the connection after an error of
    this package that its command does not declare, and after any error of a call
    without an answer: an error of one stream must not do that.
    """
    if isinstance(box, StreamBox):
        box.callEnded(CallFailed())
    failure = answerable(failure, lost)
    codes = STREAM_ERRORS.values()
    if amp.ASK not in box and getattr(failure.value, "errorCode", b"") in codes:
        _log.debug("a call without an answer failed: {error}", error=failure.value)
        return None
    return failure


def switchRefused() -> UsageError:
    return UsageError(
        "the protocol cannot be switched while streams, or boxes in fragments, are "
        "under way; wait for them, or abort them"
    )


def giveUp(announced: list[Announcement], error: StreamError) -> None:
    for announcement in announced:
        announcement.giveUp(error)


def callFailed(failure: Failure, announced: list[Announcement]) -> Failure:
    """
    A call has failed, and takes the streams that it announced with it.  If it
    failed because one of those could not be read, say why: only this side knows.
    """
    for announcement in announced:
        broken = None if announcement.stream is None else announcement.stream.failure
        announcement.giveUp(CallFailed())
        if broken is None:
            continue
        if failure.check(SourceFailed) or (
            # The peer was told the code, and knows no more.
            isinstance(failure.value, OutOfBandError)
            and broken.check(type(failure.value))
            and str(failure.value) == str(type(failure.value)())
        ):
            failure = broken
    return failure


def commandAnswered(result: Any, box: StreamBox) -> Any:
    box.callEnded(None)
    return result


def failQuestion(protocol: Any, tag: bytes, failure: Failure) -> None:
    """Fail a call whose request did not reach the peer."""
    receiver = protocol.boxReceiver
    if receiver is protocol:
        question = (protocol._outstandingRequests or {}).pop(tag, None)
        if question is not None:
            question.addErrback(protocol.unhandledError)
            question.errback(failure)
        return
    # The question belongs to another dispatcher; an answer finds it.
    error: Any = failure.value
    box = {
        amp.ERROR: tag,
        amp.ERROR_CODE: error.code,
        amp.ERROR_DESCRIPTION: str(error).encode(),
    }
    receiver.ampBoxReceived(amp.AmpBox(box))


def forgetQuestion(
    protocol: Any,
    tag: bytes,
    declared: list[bytes],
    accept: Callable[[int], IncomingStream],
) -> None:
    """
    Let a call that was cancelled have no answer: the streams of one that comes are
    refused.

    @param declared: The keys of the answer that announce streams.
    """

    def refuse(box: amp.AmpBox) -> None:
        for name in declared:
            if name in box:
                id = parseNumber(repr(name), box[name])
                accept(id).callEnded(StreamCancelled())

    questions: dict[bytes, Deferred[Any]] = protocol._outstandingRequests
    if questions and tag in questions:
        late: Deferred[Any] = Deferred()
        late.addCallback(refuse).addErrback(lambda failure: None)
        questions[tag] = late
