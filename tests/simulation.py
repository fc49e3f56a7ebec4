# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A network in virtual time: one link with a queue, and senders that share it.

The link serves a drop-tail queue of bytes at a rate, then packets are under way for
half a round trip.  An acknowledgement takes the other half.  A L{Sender} does what the
package does, with a kernel below it (Reno, with what C{TCP_INFO} would say) and a
reactor whose timers last whole milliseconds and are late.  A L{Greedy} sender is Reno
alone.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict, deque

from amp_stream._sansio.congestion import CongestionController, Sample
from amp_stream._sansio.pacer import SHORTEST, SendPacer

__all__ = ["Greedy", "Network", "Sender", "exploration"]

SEGMENT = 1448
HEADER = 52
_NOTSENT_LOWAT = 8192
_TICK = 0.001
_IDLE_LOOK = 0.005


def exploration(test):
    """
    Mark a test that runs for long and reaches no line that others do not: see
    C{tests/conftest.py}.
    """
    test.exploration = True
    return test


class Network:
    """
    The clock, and the link.

    @ivar rate: In bits a second.

    @ivar rtt: The round trip time without a queue (seconds).

    @ivar jitter: Up to how much longer an acknowledgement may take (seconds).
    """

    def __init__(self, rate, rtt, queue, jitter=0.0, seed=1):
        self.rate, self.rtt, self.jitter = rate, rtt, jitter
        self.random = random.Random(seed)
        self.now = 0.0
        self._queue = queue
        self._queued = 0
        self._free = 0.0
        self._events = []
        self._count = 0
        self._latest = 0.0
        # How long each packet stood in the queue: (when, seconds).
        self._waits = []
        self._passed = defaultdict(list)

    def at(self, when, function, *arguments):
        """Call a function at a time (seconds)."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, function, arguments))

    def run(self, until):
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, function, arguments = heapq.heappop(self._events)
            function(*arguments)
        self.now = until

    def send(self, sender, size, acknowledged):
        """
        Put a packet into the queue.

        @param acknowledged: What to call, a round trip later, with whether it arrived.
        """
        now = self.now
        if self._queued + size > self._queue:
            self.at(now + self.rtt, acknowledged, False)
            return
        self._queued += size
        self._waits.append((now, max(0.0, self._free - now)))
        self._free = max(self._free, now) + size * 8 / self.rate

        def served():
            self._queued -= size
            self._passed[sender].append((self.now, size))
            back = self.now + self.rtt + self.random.uniform(0, self.jitter)
            self._latest = max(self._latest, back)
            self.at(self._latest, acknowledged, True)

        self.at(self._free, served)

    def queue(self, percent, start, end):
        """
        @return: A percentile of the time that packets stood in the queue
            (seconds).
        """
        waits = sorted(wait for when, wait in self._waits if start <= when < end)
        return waits[min(len(waits) - 1, int(len(waits) * percent / 100))]

    def share(self, sender, start, end):
        """@return: The part of the link that a sender had between two times."""
        size = sum(size for when, size in self._passed[sender] if start <= when < end)
        return size * 8 / self.rate / (end - start)


class _Reno:
    """A sender's kernel."""

    def __init__(self, network):
        self.network = network
        self.window = 10.0
        self.threshold = 1e9
        self.unsent = deque()
        self.bytesUnsent = 0
        self.flying = 0
        self.bytesFlying = 0
        self.delivered = 0
        self.rtt = network.rtt + network.random.uniform(0, network.jitter)
        self.variation = 0.0
        self.pacing = 0.0
        self._recovery = 0.0
        self._next = 0.0
        self._waiting = False
        self._limited = False
        self.writable = lambda: None

    def write(self, size):
        self.bytesUnsent += size
        while size > 0:
            self.unsent.append(min(size, SEGMENT))
            size -= SEGMENT
        self._send()

    def sample(self):
        """Return the values that C{TCP_INFO} would report."""
        return Sample(
            inFlight=self.bytesFlying + self.bytesUnsent,
            delivered=self.delivered,
            rtt=self.rtt,
            variation=self.variation,
            segment=SEGMENT,
            window=int(self.window),
        )

    def _send(self):
        now = self.network.now
        while self.unsent and self.flying < int(self.window):
            if self._next > now:
                if not self._waiting:
                    self._waiting = True
                    self.network.at(self._next, self._paced)
                return
            size = self.unsent.popleft()
            self.bytesUnsent -= size
            self._next = now + (size / self.pacing if self.pacing else 0.0)
            self.flying += 1
            self.bytesFlying += size
            self._limited = self.flying >= int(self.window)
            start = now
            self.network.send(
                self,
                size + HEADER,
                lambda arrived, size=size, start=start: self._back(
                    size, start, arrived
                ),
            )

    def _paced(self):
        self._waiting = False
        self._send()
        self._drained()

    def _drained(self):
        if self.bytesUnsent <= _NOTSENT_LOWAT:
            self.writable()

    def _back(self, size, start, arrived):
        self.flying -= 1
        self.bytesFlying -= size
        if arrived:
            self.delivered += size
            error = self.network.now - start - self.rtt
            # Every other segment is acknowledged, so each counts half.
            self.rtt += error / 16
            self.variation += (abs(error) - self.variation) / 8
            if self._limited:
                slow = self.window < self.threshold
                self.window += 1 if slow else 1 / self.window
        else:
            self.unsent.appendleft(size)
            self.bytesUnsent += size
            if start >= self._recovery:
                self._recovery = self.network.now
                self.window = self.threshold = max(self.window / 2, 2.0)
        self._send()
        self._drained()


class Sender:
    """
    The package's sender.

    @ivar kernel: What is below it, by which the network knows it.
    """

    def __init__(
        self, network, start=0.0, late=0.0003, source=None, maxBulkDelay=0.005
    ):
        """
        @param late: How late timers are in the mean (seconds).

        @param source: How many bytes there are to send until a time since the start,
            as a function; as many as can be sent if it is L{None}.
        """
        self.network = network
        self.kernel = _Reno(network)
        self.kernel.writable = self._turnSoon
        self.controller = CongestionController(maxBulkDelay)
        self.pace = SendPacer()
        self._late = late
        self._source = source
        self._start = start
        self._written = 0
        self._due = None
        network.at(start, self._turn)

    def _turnSoon(self):
        self._wake(0.0)

    def _wake(self, wait):
        late = self.network.random.expovariate(1 / self._late) if self._late else 0.0
        ticks = -(-wait // _TICK) * _TICK
        due = self.network.now + ticks + (late if wait else 0.00002)
        if self._due is None or due < self._due:
            self._due = due
            self.network.at(due, self._woken, due)

    def _woken(self, due):
        if self._due == due:
            self._due = None
            self._turn()

    def _turn(self):
        """Do what the package does when the transport asks for more."""
        now, kernel = self.network.now, self.kernel
        controller, pace = self.controller, self.pace
        if kernel.bytesUnsent > _NOTSENT_LOWAT:
            return
        if self._source is not None:
            there = self._source(now - self._start) - self._written
            if there < SHORTEST:
                pace.paused()
                self._wake(_IDLE_LOOK)
                return
        pace.asked(now, kernel.bytesUnsent)
        if now >= controller.due or controller.room < pace.turn:
            controller.sampled(now, kernel.sample())
            kernel.pacing = controller.pacingRate
            if controller.room < pace.turn:
                pace.turn = max(SHORTEST, min(pace.turn, controller.turn))
                wait = controller.wait(now, pace.turn)
                if wait:
                    pace.held()
                    self._wake(wait)
                    return
        size = pace.turn
        pace.wrote(size)
        controller.wrote(size)
        self._written += size
        kernel.write(size)
        self._wake(0.0)


class Greedy:
    """A sender whose kernel alone controls its congestion."""

    def __init__(self, network, start=0.0, end=1e9):
        self.network = network
        self.kernel = _Reno(network)
        self.kernel.writable = self._fill
        self._end = end
        network.at(start, self._fill)

    def _fill(self):
        if self.network.now < self._end and len(self.kernel.unsent) < 10:
            self.kernel.write(20 * SEGMENT)
