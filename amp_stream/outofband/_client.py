# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The client of out-of-band transfers: which tickets it follows."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from twisted.internet.defer import Deferred

from amp_stream.errors import UntrustedServer
from amp_stream.outofband._tickets import Ticket

_LOOPBACK = "127.0.0.1"
# urlsplit drops some other characters without a word, so that another URL would be
# checked than the one that is used.
_URL = frozenset(map(chr, range(0x21, 0x7F)))


class OutOfBandClient:
    """
    Makes the HTTP requests of out-of-band transfers, for the tickets that it allows.

    A ticket comes from the peer, and makes this side connect to a server.  Without a
    rule for that, a peer could reach through this process whatever this process
    reaches.  So by default the server must have the address of the peer itself.
    """

    def __init__(
        self,
        *,
        allowedHosts: Collection[str] = (),
        allowPlainHTTP: bool = False,
        connectTimeout: float = 30.0,
        reactor: Any = None,
    ) -> None:
        """
        @param allowedHosts: Host names and addresses that a ticket may lead to, besides
            the address of the peer; C{"*"} allows all.

        @param allowPlainHTTP: Whether to make requests without TLS, too.  Then every
            machine on the way can read and change the tokens and the bytes.

        @param connectTimeout: How long to try to connect (seconds, at least 0.001).

        @param reactor: The reactor, or L{None} for the global one.

        @raise TypeError: A parameter has the wrong type.

        @raise ValueError: C{connectTimeout} is out of range.
        """
        if (
            isinstance(allowedHosts, str)
            or not isinstance(allowedHosts, Collection)
            or not all(isinstance(host, str) for host in allowedHosts)
        ):
            raise TypeError(
                "allowedHosts must be a collection of host names, such as "
                f"['oob.example.com'], not {allowedHosts!r}"
            )
        checkType("allowPlainHTTP", allowPlainHTTP, bool, "True or False")
        checkNumber("connectTimeout", connectTimeout, 0.001)
        self._allowedHosts = frozenset(map(_canonical, allowedHosts))
        self._allowPlainHTTP = allowPlainHTTP
        self._connectTimeout = connectTimeout
        self._reactor = reactor

    def _check(self, ticket: Ticket, peerHost: str) -> None:
        """
        Decide whether to follow a ticket.

        @param peerHost: The address of the peer that sent it; empty if the peer is on
            this machine.

        @raise UntrustedServer: The ticket is not to be followed.
        """
        try:
            parts = parseURL(ticket.url)
        except ValueError as error:
            raise UntrustedServer("the URL of the ticket is malformed") from error
        if "@" in parts.netloc:
            raise UntrustedServer("the URL of the ticket has a user name in it")
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https"):
            raise UntrustedServer("the URL of the ticket is not one of HTTP or HTTPS")
        if parts.scheme == "http" and not self._allowPlainHTTP:
            raise UntrustedServer(
                "the transfer would be in plain HTTP: use TLS at the server, or allow "
                "it here with OutOfBandClient(allowPlainHTTP=True)"
            )
        allowed = {_canonical(peerHost or _LOOPBACK), *self._allowedHosts}
        if "*" not in allowed and _canonical(host) not in allowed:
            raise UntrustedServer(
                f"the server is at {host}, which is not the address of the peer: allow "
                f"it with OutOfBandClient(allowedHosts=[{host!r}])"
            )

    def _get(self, ticket: Ticket, receiver: Any) -> None:
        """
        Make a GET request.

        @param receiver: An L{HTTPReceiver}.  Its C{begin} gets the body of the
            response; its C{cut} an L{OutOfBandError} if there is none.
        """
        from amp_stream.outofband._agent import get

        get(ticket, receiver, self._clock, self._connectTimeout)

    def _put(self, ticket: Ticket, size: int | None, sender: Any) -> Deferred[bool]:
        """
        Make a PUT request.

        @param size: The length of the body (bytes), or L{None}.

        @param sender: An L{HTTPSender}.  Its C{begin} gets the body of the request;
            its C{cut} an L{OutOfBandError} if the server has not got all of it.

        @return: Fires with whether the server has got all of it.
        """
        from amp_stream.outofband._agent import put

        return put(ticket, size, sender, self._clock, self._connectTimeout)

    @property
    def _clock(self) -> Any:
        if self._reactor is None:
            from twisted.internet import reactor

            return reactor
        return self._reactor


def _canonical(host: str) -> str:
    try:
        address: Any = ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        return host.lower().rstrip(".")
    mapped = getattr(address, "ipv4_mapped", None)
    return str(address if mapped is None else mapped)


def parseURL(url: str) -> SplitResult:
    """
    Take a URL apart, which has a host, and a valid port if it has one.

    @raise ValueError: It has not.
    """
    parts = urlsplit(url)
    if not (_URL.issuperset(url) and parts.hostname and parts.port != 0):
        raise ValueError(f"there is no valid host and port in {url!r}")
    return parts


def checkType(name: str, value: object, kinds: Any, wanted: str) -> None:
    """@raise TypeError: A parameter has another type."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {wanted}, not {value!r}")


def checkNumber(
    name: str, value: object, least: float, kinds: Any = (int, float)
) -> None:
    """
    Check a parameter that is a number.

    @raise TypeError: It is none.

    @raise ValueError: It is less than C{least}.
    """
    wanted = "an int" if kinds is int else "a number"
    checkType(name, None if isinstance(value, bool) else value, kinds, wanted)
    # Not "value < least", which is false for a NaN.
    if not value >= least:  # type: ignore[operator]
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
