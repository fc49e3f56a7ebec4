# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
An incoming stream as the connection of a protocol.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IProtocol, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from amp_stream.consumers import Flow, Pausable
from amp_stream.errors import UsageError

__all__ = ["Delivery"]

_log = Logger()


class Delivery:
    """
    Feeds a protocol.
    """

    def __init__(self, stream: Pausable, protocol: IProtocol) -> None:
        self._wire = _Wire(stream)
        self._protocol = protocol
        self._feeding = False
        self._end: Failure | None = None

    def start(self) -> None:
        """
        Connect the protocol.
        """
        self._protocol.makeConnection(self._wire)

    def write(self, data: bytes) -> None:
        """
        Pass the bytes on.  If the protocol closes its connection because of them,
        it hears of its end afterwards, as from any transport.
        """
        self._feeding = True
        try:
            self._protocol.dataReceived(data)
        except Exception:
            # There is no Deferred that would say so.
            _log.failure("while a protocol took the bytes of a stream")
            raise
        finally:
            self._feeding = False
            if self._end is not None:
                self.fail(self._end)

    def finish(self) -> None:
        """
        Say that those were all.
        """
        self.fail(Failure(ConnectionDone()))

    def fail(self, failure: Failure) -> None:
        """
        Say why there are no more.
        """
        self._wire.disconnecting = True
        if self._feeding:
            self._end = failure
            return
        try:
            self._protocol.connectionLost(failure)
        except Exception:
            _log.failure("while a protocol was told that a stream has ended")


@implementer(ITransport)
class _Wire(Flow):
    """
    A stream as the transport of a protocol.  There is nothing to write to.
    """

    disconnecting = False

    def write(self, data: bytes) -> None:
        """
        @raise UsageError: Always: a stream has one direction.
        """
        raise UsageError("an incoming stream cannot be written to")

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        @raise UsageError: Always: a stream has one direction.
        """
        self.write(b"")

    def loseConnection(self) -> None:
        """
        Want no more.
        """
        self.disconnecting = True
        self._stream.abort()

    abortConnection = loseConnection

    def getPeer(self) -> IAddress:
        """
        @return: An address that says no more than what this is.
        """
        return _StreamAddress()

    getHost = getPeer


@implementer(IAddress)
class _StreamAddress:
    """
    Where a stream comes from.
    """

    def __repr__(self) -> str:
        return "<an AMP stream>"
