# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Two services behind a real HAProxy, in the three ways of C{docs/balancers.md}."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from random import randrange
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface import implementer

from amp_stream import StreamAMP, StreamConfig
from amp_stream.files import (
    GetFileOutOfBand,
    ListFiles,
    OfferFile,
    PutFile,
    PutFileOutOfBand,
)
from amp_stream.outofband import OutOfBandClient
from tests.commandline import spawn
from tests.outofband import OutOfBandTestCase, head
from tests.processes import Child
from tests.twistdservice import NO_HTTP, TWISTD

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")

SKIP = NO_HTTP
if HAPROXY is None:
    SKIP = "haproxy is not installed (Debian: haproxy)"

HOSTS = ("oob-1.test", "oob-2.test")

AMP = """
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    retries 3

listen amp
    bind fd@{fds[0]}
    balance roundrobin
    option redispatch 1
    server one 127.0.0.1:{amp[0]}
    server two 127.0.0.1:{amp[1]}
"""

PORTS = """
listen oob-1
    bind fd@{fds[1]}
    server one 127.0.0.1:{oob[0]}
listen oob-2
    bind fd@{fds[2]}
    server two 127.0.0.1:{oob[1]}
"""

NAMES = """
frontend oob
    bind fd@{fds[1]}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend oob-1 if {{ req.ssl_sni oob-1.test }}
    use_backend oob-2 if {{ req.ssl_sni oob-2.test }}
backend oob-1
    server one 127.0.0.1:{oob[0]}
backend oob-2
    server two 127.0.0.1:{oob[1]}
"""

PATHS = """
frontend oob
    mode http
    bind fd@{fds[1]}
    use_backend oob-1 if {{ path_beg /1/ }}
    use_backend oob-2 if {{ path_beg /2/ }}
backend oob-1
    mode http
    server one 127.0.0.1:{oob[0]}
backend oob-2
    mode http
    server two 127.0.0.1:{oob[1]}
"""


@implementer(IHostnameResolver)
class Names:
    """Resolves the names of the balancer to this machine, and leaves others alone."""

    def __init__(self, others: Any) -> None:
        self._others = others

    def resolveHostName(
        self, receiver: Any, name: str, portNumber: int = 0, *args: Any, **kw: Any
    ) -> Any:
        """Resolve a name."""
        if name not in HOSTS:
            return self._others.resolveHostName(receiver, name, portNumber, *args, **kw)
        resolution = Resolution(name)
        receiver.resolutionBegan(resolution)
        receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        receiver.resolutionComplete()
        return resolution


@implementer(IHostResolution)
class Resolution:
    """A resolution that is complete at once."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """There is nothing to cancel."""


class Service:
    """
    One process of the file service.

    @ivar root: The directory of its files.

    @ivar oob: The port of its HTTP server.
    """

    def __init__(self, child: Child, root: str, oob: int) -> None:
        self.child = child
        self.root = root
        self.oob = oob

    def has(self, name: str) -> bool:
        """Tell whether it has a file."""
        return name in os.listdir(self.root)

    def kill(self) -> Deferred[Any]:
        """End it without any warning."""
        process: Any = self.child.process
        with contextlib.suppress(ProcessExitedAlready):
            process.signalProcess("KILL")
        return self.child.ended.addErrback(lambda gone: gone.trap(ProcessTerminated))


class BalancerTests(OutOfBandTestCase):
    """Each process serves the transfers of its own AMP connections."""

    skip = SKIP
    timeout = 120

    def ports(self, count: int) -> list[int]:
        """
        Find ports of this machine that nothing listens on, and that the system gives to
        no other test meanwhile.
        """
        found: list[int] = []
        while len(found) < count:
            port = randrange(10_000, 32_000)
            with contextlib.suppress(OSError):
                socket.create_server(("127.0.0.1", port)).close()
                found.append(port)
        return found

    async def balance(self, config: str, *urls: str, plain: bool = False) -> None:
        """
        Start two services, and HAProxy before them.

        @param config: What it does with HTTP.

        @param urls: The public URLs of the services; C{{ports[n]}} stands for a port
            of HAProxy.

        @param plain: Whether the services speak HTTP without TLS.
        """
        # HAProxy inherits its sockets, so a client need not wait until it is ready.
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        for each in sockets:
            self.addCleanup(each.close)
        ports = [each.getsockname()[1] for each in sockets]
        self.port = ports[0]
        *amp, oob1, oob2 = self.ports(4)
        self.services = await gatherResults(
            [
                ensureDeferred(self.start(amp[n], oob, url.format(ports=ports), plain))
                for n, (oob, url) in enumerate(zip((oob1, oob2), urls, strict=True))
            ]
        )
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            fds = [each.fileno() for each in sockets]
            file.write((AMP + config).format(fds=fds, amp=amp, oob=(oob1, oob2)))
        child = Child()
        anyReactor: Any = reactor
        process = anyReactor.spawnProcess(
            child,
            HAPROXY,
            [HAPROXY, "-db", "-f", path],
            childFDs={0: "w", 1: "r", 2: "r", **{fd: fd for fd in fds}},
        )
        child.process = process  # type: ignore[attr-defined]
        self.addCleanup(Service(child, "", 0).kill)

    async def start(self, amp: int, oob: int, url: str, plain: bool) -> Service:
        """Start a service."""
        root = self.mktemp()
        os.mkdir(root)
        child = spawn(
            *("-c", TWISTD, "-n", "--pidfile=", "amp-stream"),
            *("--root", os.path.abspath(root)),
            *("--listen", f"tcp:{amp}:interface=127.0.0.1"),
            *("--oob-listen", f"tcp:{oob}:interface=127.0.0.1", "--oob-url", url),
            *(["--oob-plain-http"] if plain else []),
        )
        service = Service(child, root, oob)
        self.addCleanup(service.kill)
        await child.expect(rb"serving \S+ at")
        return service

    async def connect(self, **options: Any) -> Any:
        """Connect to one of the services, by way of HAProxy."""
        client = OutOfBandClient(**options)
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", self.port)
        protocol = StreamAMP(config=StreamConfig(outOfBandClient=client))
        await connectProtocol(endpoint, protocol)
        self.addCleanup(protocol.transport.abortConnection)
        return protocol

    async def works(self, protocol: Any, name: str = "file") -> Service:
        """
        Check that files go there and back, over AMP and out of band.

        @return: The service that has them now.
        """
        body = os.urandom(3_000_000)
        await protocol.callRemote(PutFileOutOfBand, name=name, body=body)
        answer = await protocol.callRemote(GetFileOutOfBand, name=name)
        self.assertEqual(await answer["body"].collect(), body)
        await protocol.callRemote(PutFile, name=name + "-2", body=body)
        (service,) = [each for each in self.services if each.has(name)]
        self.assertTrue(service.has(name + "-2"))
        return service

    async def bothWork(self, **options: Any) -> None:
        """Check that each of two connections is served by another process."""
        used = []
        for name in ("one", "two"):
            used.append(await self.works(await self.connect(**options), name))
        self.assertEqual(set(used), set(self.services))

    def test_ports(self) -> Deferred[None]:
        """With a port for each process, every transfer reaches its process."""

        async def test() -> None:
            await self.balance(
                PORTS, "https://127.0.0.1:{ports[1]}/", "https://127.0.0.1:{ports[2]}/"
            )
            await self.bothWork()

        return ensureDeferred(test())

    def test_names(self) -> Deferred[None]:
        """With a host name for each process, TLS leads transfers to their process."""

        async def test() -> None:
            anyReactor: Any = reactor
            others = anyReactor.nameResolver
            anyReactor.installNameResolver(Names(others))
            self.addCleanup(anyReactor.installNameResolver, others)
            await self.balance(
                NAMES, *(f"https://{host}:{{ports[1]}}/" for host in HOSTS)
            )
            await self.bothWork(allowedHosts=HOSTS)

        return ensureDeferred(test())

    def test_paths(self) -> Deferred[None]:
        """With a path for each process, HTTP leads every transfer to its process."""

        async def test() -> None:
            await self.balance(
                PATHS,
                "http://127.0.0.1:{ports[1]}/1/",
                "http://127.0.0.1:{ports[1]}/2/",
                plain=True,
            )
            await self.bothWork(allowPlainHTTP=True)

        return ensureDeferred(test())

    def test_otherProcess(self) -> Deferred[None]:
        """A ticket is refused by another process than the one that issued it."""

        async def test() -> None:
            await self.balance(
                PORTS, "https://127.0.0.1:{ports[1]}/", "https://127.0.0.1:{ports[2]}/"
            )
            protocol = await self.connect()
            issuer = await self.works(protocol)
            answer = await protocol.callRemote(OfferFile, name="file")
            request = head("GET", answer["ticket"].token)
            (other,) = [each for each in self.services if each is not issuer]
            for service, status in ((other, 401), (issuer, 200), (issuer, 401)):
                raw = await self.ask(service.oob, request, tls=True)
                self.assertEqual(raw.status, status)

        return ensureDeferred(test())

    def test_dies(self) -> Deferred[None]:
        """
        When a process dies in the middle of transfers, they fail and leave nothing
        behind, and the other process serves new connections.
        """

        async def test() -> None:
            await self.balance(
                PORTS, "https://127.0.0.1:{ports[1]}/", "https://127.0.0.1:{ports[2]}/"
            )
            protocol = await self.connect()
            dying = await self.works(protocol)
            (other,) = [each for each in self.services if each is not dying]
            calls, moving = [], []
            for command in (PutFile, PutFileOutOfBand):
                source = Endless()
                name = command.__name__
                calls.append(protocol.callRemote(command, name=name, body=source))
                moving.append(source.moved)
            await gatherResults(moving)
            await dying.kill()
            for call in calls:
                await self.fails(call, Exception)
            self.assertEqual(dying.has("PutFile"), False)
            self.assertEqual(dying.has("PutFileOutOfBand"), False)
            for name in ("a", "b"):
                again = await self.connect()
                self.assertIs(await self.works(again, name), other)
            listed = await again.callRemote(ListFiles, after="", limit=10)
            names = [each["name"] for each in listed["files"]]
            self.assertEqual(names, ["a", "a-2", "b", "b-2"])

        return ensureDeferred(test())


class Endless:
    """
    Bytes without an end.

    @ivar moved: Fires when several megabytes have been asked for.
    """

    def __init__(self) -> None:
        self.moved: Deferred[None] = Deferred()
        self._count = 0

    def __iter__(self) -> Endless:
        return self

    def __next__(self) -> bytes:
        self._count += 1
        if self._count == 100:
            self.moved.callback(None)
        return bytes(65_536)
