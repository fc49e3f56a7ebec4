# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""HTTP by treq, with twisted.web as the server."""

from __future__ import annotations

import treq
from treq.client import HTTPClient
from twisted.web.client import FileBodyProducer

from benchmarks.job import Job
from benchmarks.material import Made
from benchmarks.measuring import Meter
from benchmarks.peers.base import Session
from benchmarks.peers.http import Agents, makeAgent, urlOf

__all__ = ["Treqs"]


class _Session(Session):
    """Requests."""

    def __init__(self, client: HTTPClient, job: Job, meter: Meter) -> None:
        self._client = client
        self._job = job
        self._meter = meter

    async def upload(self, size: int) -> None:
        url = urlOf(self._job, size).decode()
        response = await self._client.put(url, data=FileBodyProducer(Made(size)))
        await treq.content(response)

    async def download(self, size: int) -> None:
        url = urlOf(self._job, size).decode()
        response = await self._client.get(url, unbuffered=True)
        add = self._meter.count().add
        await treq.collect(response, lambda data: add(len(data)))


class Treqs(Agents):
    """That, with the server of L{Agents}."""

    async def connect(self) -> Session:
        client = HTTPClient(makeAgent(self.reactor, self.job))
        return _Session(client, self.job, self.meter)
