# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Either process of a run: C{python -m benchmarks.worker server|client JOB}.

It speaks with whoever started it in lines: JSON objects on standard output, words on
standard input.  It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater, react
from twisted.logger import LogLevel, globalLogPublisher
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from benchmarks.catalogue import PEERS
from benchmarks.job import ENDLESS, Job
from benchmarks.measuring import Meter, Sampler, SmallCalls
from benchmarks.peers.base import Peer, Session

_PATIENCE = 5.0


class Control(LineOnlyReceiver):
    """The line to whoever started this process."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self.words: DeferredQueue[bytes] = DeferredQueue()

    def lineReceived(self, line: bytes) -> None:
        self.words.put(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Whatever goes on, nobody is interested any more.
        os._exit(0)

    def say(self, **what: Any) -> None:
        """Tell something."""
        self.sendLine(json.dumps(what).encode())


async def server(peer: Peer, control: Control, sampler: Sampler) -> None:
    """Serve, and report when told to."""
    control.say(port=await peer.serve())
    while True:
        word = await control.words.get()
        if word == b"reset":
            peer.meter.reset()
            sampler.start()
            control.say(reset=True)
        elif word == b"report":
            control.say(meter=peer.meter.report(), profile=sampler.stop())


async def client(peer: Peer, control: Control, sampler: Sampler) -> None:
    """Do the job, and report."""
    job = peer.job
    # This process was started before anybody knew where the server would listen.
    job.port = int(await control.words.get())
    sessions = [await peer.connect() for _ in range(job.connections)]
    if job.warm:
        await _move(sessions[:1], min(1, job.up), min(1, job.down), job.warm)
    control.say(ready=True)
    await control.words.get()
    peer.meter.reset()
    sampler.start()
    if job.calls:
        result = await _rate(sessions[0], job)
    elif job.seconds:
        result = await _latency(peer.reactor, control, sessions, job)
    else:
        started = time.perf_counter()
        await _move(sessions, job.up, job.down, job.size)
        result = {"seconds": time.perf_counter() - started}
    control.say(result=result, meter=peer.meter.report(), profile=sampler.stop())
    if job.leaves:
        await deferLater(peer.reactor, 0.05)
        os._exit(0)
    await control.words.get()


def _move(sessions: list[Session], up: int, down: int, size: int) -> Deferred[Any]:
    moves = []
    for session in sessions:
        moves += [session.upload(size) for _ in range(up)]
        moves += [session.download(size) for _ in range(down)]
    return gatherResults(map(Deferred.fromCoroutine, moves), consumeErrors=True)


async def _latency(
    reactor: Any, control: Control, sessions: list[Session], job: Job
) -> dict[str, Any]:
    """Small calls without and with bulk."""
    found: dict[str, Any] = {}
    calls = None
    if job.interval:
        calls = SmallCalls(reactor, sessions[0].call, job.interval)
        calls.start()
    await deferLater(reactor, job.idle)
    found["started"] = time.perf_counter()
    control.say(started=found["started"])
    bulk = _move(sessions, job.up, job.down, job.size or ENDLESS)
    ended: list[object] = []
    bulk.addBoth(ended.append)
    await deferLater(reactor, job.seconds)
    found["stopped"] = time.perf_counter()
    if calls is not None:
        calls.stop()
        await _until(reactor, lambda: not calls.unanswered)
        found["calls"] = calls.take()
    if job.size:
        await _until(reactor, lambda: bool(ended))
        found["complete"] = bool(ended)
    if ended and (not job.size or isinstance(ended[0], Failure)):
        raise RuntimeError(f"the bulk ended early: {ended[0]}")
    return found


async def _until(reactor: Any, done: Callable[[], bool]) -> None:
    until = time.perf_counter() + _PATIENCE
    while not done() and time.perf_counter() < until:
        await deferLater(reactor, 0.01)


def _rate(session: Session, job: Job) -> Deferred[dict[str, float]]:
    """So many small calls, with so many on their way at once."""
    done: Deferred[dict[str, float]] = Deferred()
    left = job.calls
    unanswered = job.calls
    started = time.perf_counter()

    def answered() -> None:
        nonlocal left, unanswered
        unanswered -= 1
        if left:
            left -= 1
            session.call(answered)
        elif not unanswered:
            done.callback({"seconds": time.perf_counter() - started})

    for _ in range(job.inFlight):
        left -= 1
        session.call(answered)
    return done


def setNoDelayEverywhere() -> None:
    """
    Set C{TCP_NODELAY} on every connection of this process, also on those of a
    library.
    """
    original = tcp.Connection.__init__

    def withNoDelay(self: Any, skt: socket.socket, *rest: Any, **more: Any) -> None:
        original(self, skt, *rest, **more)
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    tcp.Connection.__init__ = withNoDelay


def main(role: str, text: str) -> None:
    """Be the server or the client."""
    job = Job.fromJson(text)
    if job.package:
        # Before anything has imported amp_stream.
        sys.path.insert(0, job.package)
    if job.noDelay:
        setNoDelayEverywhere()

    def complain(event: Any) -> None:
        if event["log_level"] >= LogLevel.error:
            failure = event.get("log_failure")
            print(failure or event.get("log_format"), file=sys.stderr)

    globalLogPublisher.addObserver(complain)

    async def run(reactor: Any) -> None:
        control = Control()
        StandardIO(control, reactor=reactor)
        meter = Meter(reactor, job.snapshotAt)
        peer = PEERS[job.peer].load()(reactor, job, meter)
        work = server if role == "server" else client
        try:
            await work(peer, control, Sampler(job.profile))
        except Exception as error:
            control.say(failed=f"{type(error).__name__}: {error}")
            await control.words.get()

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(*sys.argv[1:])
