# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Endpoint strings, and sizes, as people write them."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.address import UNIXAddress as UNIX
from twisted.internet.endpoints import SSL4ServerEndpoint, clientFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from amp_stream.files._endpoints import (
    clientEndpoint,
    clientString,
    parseSize,
    serverEndpoint,
)


class ClientEndpointTests(SynchronousTestCase):
    """L{clientEndpoint}"""

    def endpoint(self, text: str) -> dict[str, Any]:
        """Make an endpoint, and look at it."""
        return vars(clientEndpoint(MemoryReactorClock(), text, 4.5))

    def test_hostAndPort(self) -> None:
        """
        A host and a port make a TCP endpoint, also if the host is an IPv6
        address.
        """
        for text, host in [
            ("localhost:4321", "localhost"),
            ("127.0.0.1:4321", "127.0.0.1"),
            ("[::1]:4321", "::1"),
        ]:
            seen = self.endpoint(text)
            self.assertEqual((seen["_host"], seen["_port"]), (host, 4321))
            self.assertEqual(seen["_timeout"], 5)

    def test_endpointStrings(self) -> None:
        """
        A Twisted endpoint string is read as one, even where it looks like a host
        and a port.
        """
        self.assertEqual(self.endpoint("tcp:localhost:1")["_port"], 1)
        self.assertEqual(self.endpoint("unix:/tmp/a")["_path"], "/tmp/a")
        self.assertEqual(self.endpoint("unix:1")["_path"], "1")

    def test_nonsense(self) -> None:
        """
        A text that is not a client endpoint is an error that says what to
        write.
        """
        for text in ("", "localhost", ":1", "tcp", "tcp:", "tcp:a:b", "x:y:z", "a:b"):
            error = self.assertRaises(ValueError, self.endpoint, text)
            self.assertIn("write host:port", str(error))

    def test_trustRoot(self) -> None:
        """A trust root with any endpoint but tls:HOST:PORT is an error."""
        for text in ("localhost:1", "tcp:localhost:1", "unix:a", "tls:a:1:timeout=2"):
            error = self.assertRaises(
                ValueError, clientEndpoint, MemoryReactorClock(), text, 30, "pem"
            )
            self.assertIn("a trust root is for tls:HOST:PORT", str(error))


class ServerEndpointTests(SynchronousTestCase):
    """L{serverEndpoint}"""

    def test_nonsense(self) -> None:
        """
        A text that is not a server endpoint is an error that says what to
        write.
        """
        for text in ("", "nonsense", "tcp:", "tcp:a", "ssl:1:privateKey=nosuch"):
            error = self.assertRaises(
                ValueError, serverEndpoint, MemoryReactorClock(), text
            )
            self.assertIn("is not a valid server endpoint", str(error))


class ClientStringTests(SynchronousTestCase):
    """L{clientString}"""

    def test_roundTrip(self) -> None:
        """
        Each kind of port has a client endpoint string that leads to it, also if
        it listens on all interfaces.
        """
        reactor = MemoryReactorClock()
        tcp = serverEndpoint(reactor, "tcp:0")
        unix = serverEndpoint(reactor, "unix:a")
        for endpoint, address, text in [
            (tcp, IPv4Address("TCP", "0.0.0.0", 7), "tcp:host=127.0.0.1:port=7"),
            (tcp, IPv4Address("TCP", "10.1.2.3", 7), "tcp:host=10.1.2.3:port=7"),
            (tcp, IPv6Address("TCP", "::", 7), "tcp:host=\\:\\:1:port=7"),
            (
                SSL4ServerEndpoint(reactor, 0, None),
                IPv4Address("TCP", "10.1.2.3", 7),
                "tls:host=10.1.2.3:port=7",
            ),
            (unix, UNIX("/tmp/a:b"), "unix:path=/tmp/a\\:b"),
            (unix, UNIX(b"/tmp/a"), "unix:path=/tmp/a"),
        ]:
            self.assertEqual(clientString(endpoint, address), text)
            if not text.startswith("tls:"):
                clientFromString(reactor, text)

    def test_unknown(self) -> None:
        """An address that no endpoint string leads to is an error."""
        endpoint = serverEndpoint(MemoryReactorClock(), "tcp:0")
        for address in (HostnameAddress(b"a", 1), UNIX(None)):
            self.assertRaises(ValueError, clientString, endpoint, address)


class SizeTests(SynchronousTestCase):
    """L{parseSize}"""

    def test_good(self) -> None:
        """
        A size is a number of bytes, or of a power of 1024 of them, with or
        without a B.
        """
        for text, size in [
            ("0", 0),
            ("4096", 4096),
            ("1k", 1024),
            ("256M", 256 * 2**20),
            ("16G", 16 * 2**30),
            ("2T", 2**41),
            (" 1 KiB ", 1024),
            ("1MB", 2**20),
            ("7B", 7),
        ]:
            self.assertEqual(parseSize(text), size)

    def test_bad(self) -> None:
        """A text that is not a size is an error that says what to write."""
        for text in ("", "M", "-1", "1.5G", "1P", "1 2", "٣", "1" * 30):
            error = self.assertRaises(ValueError, parseSize, text)
            self.assertIn("is not a size", str(error))
