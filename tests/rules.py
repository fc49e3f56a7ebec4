# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Helpers that the tests of L{amp_stream._sansio} share."""

from __future__ import annotations

from random import Random

from amp_stream._sansio.frames import MaxStreamData, ResetStream, StopSending
from amp_stream.errors import StreamAborted

__all__ = ["PERIOD", "VALUE", "Wire", "pieces"]

PERIOD = 1_000_000

VALUE = Random(9000).randbytes(PERIOD) * 2
"""
Bytes that look like no others within C{PERIOD} of them.
"""


def pieces(value, size):
    """
    Cut a value.

    @return: Offset, bytes, and whether they are the last, for each piece.
    """
    return [
        (start, value[start : start + size], start + size >= len(value))
        for start in range(0, len(value) or 1, size)
    ]


class Wire:
    """
    A L{SendStreams}, a L{ReceiveStreams}, and what is under way between them, in order.

    @ivar forth: What the sender has sent: chunks, as arguments of
        L{ReceiveStreams.receive}, and frames.

    @ivar back: What the receiver has sent: frames, and numbers of streams that have
        arrived whole.

    @ivar sources: By id, how many bytes there are still to send, of L{VALUE} over
        and over again.

    @ivar advertisedMax: Every L{MaxStreamData} that was sent.
    """

    def __init__(self, outbound, inbound):
        self.outbound = outbound
        self.inbound = inbound
        self.forth = []
        self.back = []
        self.sources = {}
        self.advertisedMax = []

    def open(self, size):
        """Begin to send a stream of C{size} bytes."""
        stream = self.outbound.open()
        self.sources[stream.id] = size
        self.outbound.offer(stream)
        return stream

    def sendOne(self):
        """
        Give one stream its turn.

        @return: Whether there was one.
        """
        stream = self.outbound.next()
        if stream is None:
            return False
        left = self.sources[stream.id]
        count = min(left, self.outbound.allowance(stream))
        self.sources[stream.id] = left - count
        fin = count == left
        offset = stream.send(count, fin)
        start = offset % PERIOD
        data = VALUE[start : start + count]
        self.forth.append((stream.id, offset, data, fin))
        self.outbound.offer(stream)
        return True

    def arriveOne(self):
        """Deliver the sender's oldest chunk or frame."""
        self.collectFrames()
        if not self.forth:
            return False
        what = self.forth.pop(0)
        if isinstance(what, ResetStream):
            self.inbound.reset(what.id, StreamAborted(code=what.code), what.finalSize)
        else:
            stream = self.inbound.receive(*what)
            if stream is not None and stream.isComplete:
                self.back.append(stream.id)
        return True

    def answerOne(self):
        """Deliver the receiver's oldest frame."""
        self.collectFrames()
        if not self.back:
            return False
        what = self.back.pop(0)
        if isinstance(what, MaxStreamData):
            self.outbound.grant(what.id, what.maximum)
        elif isinstance(what, StopSending):
            self.outbound.reset(what.id, StreamAborted(code=what.code))
        else:
            self.outbound.acknowledge(what)
        return True

    def collectFrames(self):
        """Put the frames of both sides on their way."""
        self.forth += self.outbound.frames
        self.back += self.inbound.frames
        self.advertisedMax += [
            frame for frame in self.inbound.frames if isinstance(frame, MaxStreamData)
        ]
        self.outbound.frames = []
        self.inbound.frames = []
