# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""gRPC Python, with bytes as they are for messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from twisted.internet.threads import deferToThread

from benchmarks.material import blocks
from benchmarks.measuring import Meter
from benchmarks.peers.base import Peer, Session

__all__ = ["Grpc"]

PIECE = 65536
_THREADS = 80
_SERVICE = "benchmarks.Bulk"


class _Servicer:
    """The server."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def handlers(self) -> dict[str, Any]:
        """Name the methods."""
        return {
            "Take": grpc.stream_unary_rpc_method_handler(self._take),
            "Give": grpc.unary_stream_rpc_method_handler(self._give),
            "Ping": grpc.unary_unary_rpc_method_handler(self._ping),
        }

    def _take(self, requests: Iterator[bytes], context: Any) -> bytes:
        count = self._meter.count()
        for data in requests:
            count.add(len(data))
        return b""

    def _give(self, request: bytes, context: Any) -> Iterator[bytes]:
        return blocks(int(request), PIECE)

    def _ping(self, request: bytes, context: Any) -> bytes:
        return b""


class _Session(Session):
    """A channel, which has one connection."""

    def __init__(self, channel: Any, meter: Meter) -> None:
        self._take = channel.stream_unary(f"/{_SERVICE}/Take")
        self._give = channel.unary_stream(f"/{_SERVICE}/Give")
        self._ping = channel.unary_unary(f"/{_SERVICE}/Ping")
        self._meter = meter

    async def upload(self, size: int) -> None:
        await deferToThread(self._take, blocks(size, PIECE))

    async def download(self, size: int) -> None:
        await deferToThread(self._receive, size)

    def call(self, answered: Callable[[], None]) -> None:
        def done(future: Any) -> None:
            if future.code() is grpc.StatusCode.OK:
                answered()

        self._ping.future(b"").add_done_callback(done)

    def _receive(self, size: int) -> None:
        count = self._meter.count()
        for data in self._give(b"%d" % size):
            count.add(len(data))


class Grpc(Peer):
    """Its own threads, and messages of 64 KiB."""

    async def serve(self) -> int:
        self._server = grpc.server(ThreadPoolExecutor(_THREADS))
        handler = grpc.method_handlers_generic_handler(
            _SERVICE, _Servicer(self.meter).handlers()
        )
        self._server.add_generic_rpc_handlers((handler,))
        port = self._server.add_insecure_port(f"{self.job.host}:0")
        self._server.start()
        return port

    async def connect(self) -> Session:
        self.reactor.suggestThreadPoolSize(_THREADS)
        channel = grpc.insecure_channel(f"{self.job.host}:{self.job.port}")
        return _Session(channel, self.meter)
