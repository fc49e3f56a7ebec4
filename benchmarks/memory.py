# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How much memory a large stream costs, at each end.

    python benchmarks/memory.py [SIZE] [stream | put | get]

Starts a receiver in a process of its own, sends it SIZE bytes (default 4G) that are
generated as they go, and prints by how much the peak memory of each process (VmHWM, so
Linux only) grew over what it was before the first byte.  Exits with 1 if it grew by
more than 32 MiB at either end.

They travel as a C{Stream}; or out of band, over HTTPS, where the receiver is the HTTP
server (C{put}) or the sender (C{get}).
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    clientFromString,
    connectProtocol,
    serverFromString,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.protocols import amp

from amp_stream import OutOfBand, Stream, StreamAMP, StreamConfig
from amp_stream.outofband import OutOfBandServer

ALLOWED = 32 * 2**20
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class Take(amp.Command):
    """Take a stream and say what that cost."""

    arguments = [(b"body", Stream())]
    response = [(b"size", amp.Integer()), (b"growth", amp.Integer())]


class TakeOutOfBand(amp.Command):
    """Take a stream that travels over HTTPS and say what that cost."""

    arguments = [(b"body", OutOfBand())]
    response = Take.response


class Taker(StreamAMP):
    """The receiving end."""

    @Take.responder
    @TakeOutOfBand.responder
    async def take(self, body):
        """Look at each piece and let it go."""
        before = peak()
        size = 0
        async for piece in body:
            size += len(piece)
        return {"size": size, "growth": peak() - before}


def peak() -> int:
    """@return: The most memory that this process has had resident (bytes)."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def generated(size):
    """Make bytes that are not the same all over, without keeping them."""
    block = bytes(range(256)) * 256
    for start in range(0, size, len(block)):
        yield block[: size - start]


async def outOfBandServer(wanted):
    """@return: A server of out-of-band transfers, or L{None} if it is not wanted."""
    if not wanted:
        return None
    server = OutOfBandServer("tcp:0:interface=127.0.0.1")
    server.startService()
    return await server.whenListening()


async def receive(reactor, via):
    """The child: say where it listens, and serve until it is ended."""
    server = await outOfBandServer(via == "put")
    Taker.streamConfig = StreamConfig(outOfBandServer=server)
    endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
    port = await endpoint.listen(Factory.forProtocol(Taker))
    print(port.getHost().port, flush=True)
    await Deferred()


async def send(reactor, size, via):
    """The parent."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--receive", via], stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(child.stdout.readline())
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        server = await outOfBandServer(via == "get")
        protocol = await connectProtocol(
            endpoint, StreamAMP(config=StreamConfig(outOfBandServer=server))
        )
        command = Take if via == "stream" else TakeOutOfBand
        # A first stream loads what is only loaded once.
        await protocol.callRemote(command, body=generated(2**20))
        before, started = peak(), time.perf_counter()
        answer = await protocol.callRemote(command, body=generated(size))
        seconds = time.perf_counter() - started
        growth = {"sender": peak() - before, "receiver": answer["growth"]}
    finally:
        child.terminate()
        child.wait()
    print(f"{answer['size']:,} bytes in {seconds:.1f} s")
    for name, grown in growth.items():
        print(f"{name}: peak memory over start {grown / 2**20:.1f} MiB")
    if answer["size"] != size or max(growth.values()) > ALLOWED:
        sys.exit(1)


def main(arguments):
    """Find out which end this is."""
    if arguments[:1] == ["--receive"]:
        react(lambda reactor: Deferred.fromCoroutine(receive(reactor, arguments[1])))
    text = arguments[0] if arguments else "4G"
    size = int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text)
    via = arguments[1] if arguments[1:] else "stream"
    if via not in ("stream", "put", "get"):
        sys.exit(__doc__)
    react(lambda reactor: Deferred.fromCoroutine(send(reactor, size, via)))


if __name__ == "__main__":
    main(sys.argv[1:])
