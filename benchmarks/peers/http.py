# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""HTTP by twisted.web at both ends."""

from __future__ import annotations

import io
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    HTTPConnectionPool,
)
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.static import File
from zope.interface import implementer

from benchmarks.job import Job
from benchmarks.material import Made, blocks
from benchmarks.measuring import Count, Meter
from benchmarks.peers.base import Peer, Session, authority

__all__ = ["Agents", "Static", "makeAgent", "urlOf"]


class _Sink(io.BytesIO):
    """Takes the place of the file in which twisted.web keeps the body of a request."""

    def __init__(self, count: Count) -> None:
        super().__init__()
        self._count = count

    def write(self, data: Any) -> int:
        """Count, and let go."""
        self._count.add(len(data))
        return len(data)


@implementer(IPushProducer)
class _Push:
    """Writes until the transport says stop."""

    def __init__(self, request: Any, size: int) -> None:
        self._request = request
        self._blocks = blocks(size)
        self._paused = False
        request.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while not self._paused:
            block = next(self._blocks, None)
            if block is None:
                self._request.unregisterProducer()
                self._request.finish()
                return
            self._request.write(block)

    def stopProducing(self) -> None:
        self._paused = True


class _Root(Resource):
    """C{PUT} anything, C{GET} as many bytes as the name says."""

    isLeaf = True

    def render_PUT(self, request: Any) -> bytes:
        """The body has come already."""
        return b""

    def render_GET(self, request: Any) -> int:
        """Send."""
        size = int(request.path.strip(b"/"))
        request.setHeader(b"content-length", b"%d" % size)
        _Push(request, size)
        return NOT_DONE_YET


class _Files(Resource):
    """Files of as many bytes as their name says, by C{twisted.web.static.File}."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = FilePath(directory)

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Serve a file, that is made if it is not there."""
        made = self._directory.child(path)
        if not made.exists():
            with made.open("wb") as file:
                for block in blocks(int(path)):
                    file.write(block)
        return File(made.path.decode())


class Counting(Protocol):
    """Counts a body."""

    def __init__(self, count: Count) -> None:
        self.add = count.add
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.add(len(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(None)


def urlOf(job: Job, size: int) -> bytes:
    """@return: The address of so many bytes."""
    scheme = "https" if job.certificate else "http"
    return f"{scheme}://{job.host}:{job.port}/{size}".encode()


def makeAgent(reactor: Any, job: Job) -> Agent:
    """An agent that keeps its connection, and trusts the run's certificate."""
    pool = HTTPConnectionPool(reactor)
    if job.certificate:
        policy = BrowserLikePolicyForHTTPS(trustRoot=authority(job))
        return Agent(reactor, policy, pool=pool)
    return Agent(reactor, pool=pool)


class _Session(Session):
    """Requests."""

    def __init__(self, agent: Agent, job: Job, meter: Meter) -> None:
        self._agent = agent
        self._job = job
        self._meter = meter

    async def upload(self, size: int) -> None:
        body = FileBodyProducer(Made(size))
        response = await self._agent.request(b"PUT", self._url(size), None, body)
        await self._whole(response)

    async def download(self, size: int) -> None:
        await self._whole(await self._agent.request(b"GET", self._url(size)))

    def _url(self, size: int) -> bytes:
        return urlOf(self._job, size)

    async def _whole(self, response: Any) -> None:
        if response.code != 200:
            raise RuntimeError(f"HTTP {response.code}")
        counting = Counting(self._meter.count())
        response.deliverBody(counting)
        await counting.done


class Agents(Peer):
    """
    C{Agent} and C{FileBodyProducer} at the client.  The server does not keep the body
    of a C{PUT} in a file, as it would by itself: it lets go of each piece.
    """

    async def serve(self) -> int:
        meter = self.meter

        class Streaming(Request):
            def gotLength(self, length: int | None) -> None:
                self.content = _Sink(meter.count())

        return await self.listen(Site(self.root(), requestFactory=Streaming))

    def root(self) -> Resource:
        """Make what is served."""
        return _Root()

    async def connect(self) -> Session:
        return _Session(makeAgent(self.reactor, self.job), self.job, self.meter)


class Static(Agents):
    """C{twisted.web.static.File}, of a file that is in the page cache."""

    def root(self) -> Resource:
        """Files in the directory of the run."""
        directory = FilePath(self.job.directory)
        with directory.child(str(self.job.size)).open("wb") as file:
            for block in blocks(self.job.size):
                file.write(block)
        return _Files(self.job.directory)
