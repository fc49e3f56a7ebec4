# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How much to write in one turn.

What is in the transport when a small call is made is before that call, so a turn
should be a millisecond of the link and no more: a chunk of 65,535 bytes is 26
milliseconds of 20 Mbit/s.  Where the link is fast, a turn of one chunk is so short
that going round takes longer than the bytes: there it is several chunks.

The rate is what goes into the transport in the time between two of its requests for
more.  That is the rate of the link only if the link never had to wait for this
program.  Whether it had to is known from the kernel: bytes are left that it has not
sent, or none are.  Where none are, more would have gone, and the turn gets longer
whatever the rate seems to be.  Otherwise a program that is busy with other
things would take itself for a slow link, write less in each turn, and be slower still.

A sender whose bytes in flight are bounded (L{amp_stream._sansio.congestion}) leaves the
kernel with nothing to send for most of the time, so while it waits for room that says
nothing of the program.

Where the kernel cannot be asked, a turn stays what it was: one chunk.
"""

from __future__ import annotations

from attrs import define, field

from amp_stream._sansio.limits import MAX_CHUNK

SHORTEST = 4096
"""
The least that is written in one turn (bytes): less would be more headers than bytes.
"""

LONGEST = 131_072
"""
The most that is written in one turn (bytes).  It is the size of the pieces in which
Twisted gives bytes to the kernel.  Twice as much is no faster, and small calls wait
twice as long.
"""

BOX = 65_536
"""
How large the boxes are at the most of which a turn has several (bytes): with them,
a turn is no more than a number of pieces, and none is left with a few bytes in it.
"""

HEADERS = 256
"""
What a box is longer than its chunk, and TLS makes it, or less.
"""

_TARGET = 0.001
"""
How long a turn should take (seconds).
"""

_SPAN = 0.005
"""
How long to measure (seconds).
"""


@define(eq=False, repr=False)
class SendPacer:
    """
    The length of the turns on one connection.

    @ivar turn: How many bytes to write in the next turn.  Set it to less where there
        is not enough room for so many.
    """

    _largest: int = MAX_CHUNK
    """The largest chunk (bytes)."""

    # A chunk that fills a value to the last byte would end in an empty segment in
    # version 2, which takes longer to read.
    turn: int = field(default=BOX - HEADERS, init=False)
    # When the transport asked before, if it has not been left without an answer.
    _last: float | None = field(default=None, init=False)
    _isHeld: bool = field(default=False, init=False)
    _spent: float = field(default=0.0, init=False)
    _held: float = field(default=0.0, init=False)
    _written: int = field(default=0, init=False)
    _asks: int = field(default=0, init=False)
    _starved: int = field(default=0, init=False)

    def sizes(self) -> tuple[int, int]:
        """
        @return: The most bytes of a stream to put into one chunk, and how many bytes to
            write before the turn is over.  A last chunk may exceed that: a turn that
            is no longer than a chunk is one chunk, however short.
        """
        if self.turn <= BOX:
            return min(self.turn, self._largest), 1
        return min(BOX - HEADERS, self._largest), self.turn

    def asked(self, now: float, unsent: int | None) -> None:
        """
        The transport has handed everything to the kernel and asks for more.

        @param now: The time (seconds, from any start).

        @param unsent: How many bytes the kernel has not sent yet, or L{None} if it
            does not say.
        """
        last, self._last = self._last, now
        wasHeld, self._isHeld = self._isHeld, False
        if last is None or unsent is None:
            return
        self._spent += now - last
        if wasHeld:
            self._held += now - last
        self._asks += 1
        self._starved += not unsent
        if self._spent < _SPAN:
            return
        if 2 * self._starved >= self._asks and 4 * self._held < self._spent:
            turn = 2 * self.turn
        else:
            # Shrink step by step: one pause of this program is not the link's.
            turn = max(int(self._written / self._spent * _TARGET), self.turn * 3 // 4)
        self.turn = max(SHORTEST, min(turn, LONGEST))
        self._spent = self._held = 0.0
        self._written = self._asks = self._starved = 0

    def held(self) -> None:
        """
        Take the time until the transport asks again for a wait for room, which says
        nothing of the link.
        """
        self._isHeld = True

    def wrote(self, count: int) -> None:
        """Bytes have been written."""
        self._written += count

    def paused(self) -> None:
        """
        There is nothing to write: what passes now is not the link's time.  What was
        measured before counts: streams that keep coming to the ends of their windows
        would otherwise never be measured for long enough.
        """
        self._last = None
