# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A relay that delays: C{python -m benchmarks.relay PORT DELAY}.

Each byte leaves C{DELAY} seconds after it came, at any rate.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field

__all__ = ["main"]

_READ = 2**18
_OVERDUE = 2**23


@dataclass
class Way:
    """One direction of one connection."""

    source: socket.socket
    target: socket.socket
    delay: float
    line: deque[tuple[float, memoryview]] = field(default_factory=deque)
    ended: bool = False
    waiting: int = 0

    def wantsMore(self, now: float) -> bool:
        """Whether to read."""
        if self.ended:
            return False
        # What is due and cannot be written is the target's business, not the line's.
        overdue = self.line and self.line[0][0] < now - 0.01
        return not overdue or self.waiting < _OVERDUE

    def read(self, now: float) -> None:
        """Something has come."""
        try:
            data = self.source.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
        self.waiting += len(data)
        self.line.append((now + self.delay, memoryview(data)))

    def write(self, now: float) -> bool:
        """
        Pass on what is due.

        @return: Whether the target has room for more.
        """
        while self.line and self.line[0][0] <= now:
            due, data = self.line[0]
            if not data:
                self.line.popleft()
                self.target.shutdown(socket.SHUT_WR)
                continue
            try:
                sent = self.target.send(data)
            except BlockingIOError:
                return False
            self.waiting -= sent
            if sent < len(data):
                self.line[0] = (due, data[sent:])
                return False
            self.line.popleft()
        return True


def _pass(near: socket.socket, far: socket.socket, delay: float) -> None:
    """Serve one connection, in a thread of its own."""
    ways = [Way(near, far, delay), Way(far, near, delay)]
    poll = select.epoll()
    masks: dict[int, int] = {}
    for end in (near, far):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(end, 0)
        masks[end.fileno()] = 0
    blocked = [False, False]
    try:
        while any(not way.ended or way.line for way in ways):
            now = time.monotonic()
            wanted = dict.fromkeys(masks, 0)
            wake = now + 1.0
            for index, way in enumerate(ways):
                if way.wantsMore(now):
                    wanted[way.source.fileno()] |= select.EPOLLIN
                if blocked[index]:
                    wanted[way.target.fileno()] |= select.EPOLLOUT
                elif way.line:
                    wake = min(wake, way.line[0][0])
            for number, mask in wanted.items():
                if masks[number] != mask:
                    masks[number] = mask
                    poll.modify(number, mask)
            events = dict(poll.poll(max(0.0, wake - time.monotonic())))
            now = time.monotonic()
            for index, way in enumerate(ways):
                seen = events.get(way.source.fileno(), 0)
                if seen & (select.EPOLLIN | select.EPOLLHUP) and way.wantsMore(now):
                    way.read(now)
                blocked[index] = not way.write(now)
    except OSError:
        pass
    finally:
        poll.close()
        near.close()
        far.close()


def main(port: int, delay: float) -> None:
    """Relay connections to a port of this machine, until standard input ends."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)

    def untilTheEnd() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=untilTheEnd, daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    while True:
        near, _ = listener.accept()
        far = socket.socket()
        far.connect(("127.0.0.1", port))
        threading.Thread(target=_pass, args=(near, far, delay), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
