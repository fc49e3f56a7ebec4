# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The out-of-band streams of one AMP connection: who asks whom for a ticket.

The receiver of a stream sets its transfer up, when somebody wants the bytes.  If it
has an HTTP server, it sends the sender a ticket for a C{PUT}.  If not, it asks the
sender for one for a C{GET}.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from amp_stream._incoming import IncomingStream
from amp_stream._multiplexer import StreamLink
from amp_stream._outgoing import OutgoingStream, Source
from amp_stream._sansio.frames import parseNumber
from amp_stream._sansio.stream import SendStream
from amp_stream._sansio.ticketbox import Ticket, ticketFromBox, ticketToBox
from amp_stream.errors import (
    InvalidChunk,
    NobodyListens,
    OutOfBandError,
    StreamError,
    StreamReused,
    TooManyTickets,
    errorForCode,
)
from amp_stream.outofband.carriers import IncomingCarrier, OutgoingCarrier
from amp_stream.outofband.client import BulkClient
from amp_stream.outofband.offers import Offer

__all__ = ["TICKET_COMMANDS", "OutOfBandSide"]

_DEFAULT_CLIENT = BulkClient()

_log = Logger()

TICKET_COMMANDS = frozenset({b"TakeTicket", b"AskTicket"})
"""
The names of the commands that are about tickets.
"""


class OutOfBandSide:
    """
    Sets up the transfers of one connection.
    """

    commands = TICKET_COMMANDS

    def __init__(self, link: StreamLink) -> None:
        """
        @param link: The streams of the connection.
        """
        self._link = link
        self._port = link.port
        self._incoming = link.incoming
        self._outgoing = link.outgoing
        self._ask = link.sendAsking
        self._maxSize = link.limits.maxStreamSize
        self._clock = link.clock
        self._name = secrets.token_hex(16)
        self._offers: dict[int, Offer] = {}
        self._offered = 0

    @property
    def _client(self) -> Any:
        return self._port.bulkClient or _DEFAULT_CLIENT

    @property
    def listens(self) -> bool:
        """
        Whether this side has an HTTP server.
        """
        return self._port.bulkServer is not None

    def claim(
        self,
        id: int,
        size: int | None,
        maxSize: int | None,
        peerListens: bool,
        digest: bool,
    ) -> IncomingStream:
        """
        Ask for a stream whose bytes come over HTTP.

        @param size: How many it was announced with (bytes), or L{None}.

        @param maxSize: The most that it may have (bytes), or L{None}.

        @param peerListens: Whether the peer has an HTTP server.

        @param digest: Whether the digest of the bytes will come.

        @raise NobodyListens: If neither side has one.

        @raise StreamError: If the stream cannot be had.
        """
        most = min(
            (bound for bound in (maxSize, self._maxSize) if bound is not None),
            default=None,
        )

        def stop(error: StreamError) -> None:
            self._incoming.giveUp(id, error)

        begin = partial(self._setUp, id, size, most)
        carrier = IncomingCarrier(
            begin, partial(self._incoming.feed, id), stop, self._clock.callLater
        )
        stream = self._incoming.claim(id, size, maxSize, carrier, digest)
        if not (self.listens or peerListens):
            error = NobodyListens()
            stop(error)
            raise error
        return stream

    def open(self, source: Source, digest: bool) -> OutgoingStream:
        """
        Make a stream whose bytes go over HTTP.  Nothing is sent before it is started.
        """
        made: list[OutgoingCarrier] = []

        def carry(core: SendStream) -> OutgoingCarrier:
            made.append(OutgoingCarrier(core, self._outgoing))
            return made[0]

        stream = self._link.open(source, digest, carry)
        made[0].stream = stream
        return stream

    def offer(self, source: Source) -> Deferred[Offer]:
        """
        Let somebody without an AMP connection get a value.

        @return: Fires with the offer, or fails with an L{OutOfBandError}.
        """
        server = self._port.bulkServer
        if server is None or self._port.transport is None:
            source.close()
            return fail(NobodyListens())
        number, self._offered = self._offered, self._offered + 1
        offer = self._offers[number] = Offer(
            number, source, self._clock, self._outgoing.maxBulkDelay
        )
        name = f"{self._name}-offers"

        def released() -> None:
            self._offers.pop(number, None)
            server.forget(name, number, b"GET")

        offer.carrier.onRelease = released
        issuing = server.admit(
            offer.carrier,
            b"GET",
            name,
            number,
            size=source.size,
            localHost=self._host("getHost"),
        )

        def failed(failure: Failure) -> Failure:
            offer.done.addErrback(lambda ignored: None)
            error = _explained(failure)
            offer.carrier.fail(error)
            return Failure(error)

        offering: Deferred[Offer] = issuing.addCallbacks(offer.start, failed)
        return offering

    def connectionLost(self, reason: Failure) -> None:
        """
        Forget the offers; the streams end by themselves.
        """
        for offer in list(self._offers.values()):
            offer.lost(reason)

    def read(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        """
        Take a box whose command is one of L{TICKET_COMMANDS}.

        @return: Fires with the answer, or fails with a L{StreamError}.
        """
        try:
            id = parseNumber("id", box.get(b"id"))
            if box[amp.COMMAND] == b"AskTicket":
                return self._asked(id)
            self._taken(id, ticketFromBox(box))
        except StreamError:
            return fail()
        return succeed(amp.AmpBox())

    def _setUp(
        self, id: int, size: int | None, maxSize: int | None, carrier: IncomingCarrier
    ) -> None:
        server = self._port.bulkServer
        if server is None:
            box = amp.AmpBox({amp.COMMAND: b"AskTicket", b"id": b"%d" % id})
            self._ask(box, partial(self._given, carrier))
            return
        carrier.onRelease = partial(server.forget, self._name, id, b"PUT")
        issuing = server.admit(
            carrier,
            b"PUT",
            self._name,
            id,
            size=size,
            maxSize=maxSize,
            localHost=self._host("getHost"),
        )
        issuing.addCallback(partial(self._sendTicket, id, carrier))
        issuing.addErrback(_notIssued, carrier)

    def _sendTicket(self, id: int, carrier: IncomingCarrier, ticket: Ticket) -> None:
        box = amp.AmpBox({amp.COMMAND: b"TakeTicket", b"id": b"%d" % id})
        box.update(ticketToBox(ticket))

        def answered(box: amp.AmpBox) -> None:
            if amp.ERROR in box:
                carrier.fail(_errorOf(box))

        self._ask(box, answered)

    def _given(self, carrier: IncomingCarrier, box: amp.AmpBox) -> None:
        """
        The sender has answered C{AskTicket}.
        """
        if amp.ERROR in box:
            carrier.fail(_errorOf(box))
            return
        try:
            ticket = self._checked(box, b"GET")
        except StreamError as error:
            carrier.fail(error)
        else:
            self._client.get(ticket, carrier)

    def _taken(self, id: int, ticket: Ticket) -> None:
        """
        The receiver has sent a ticket to put the bytes with.
        """
        carrier = self._free(id)
        try:
            self._check(ticket, b"PUT")
        except StreamError as error:
            # When the answer has been sent, in which there is more than a code.
            self._clock.callLater(0, carrier.fail, error)
            raise
        carrier.taken = True
        self._client.put(ticket, carrier.stream.size, carrier)

    def _asked(self, id: int) -> Deferred[amp.AmpBox]:
        """
        The receiver wants a ticket to get the bytes with.
        """
        carrier = self._free(id)
        server = self._port.bulkServer
        if server is None:
            error = NobodyListens()
            self._clock.callLater(0, carrier.fail, error)
            raise error
        carrier.taken = True
        carrier.onRelease = partial(server.forget, self._name, id, b"GET")
        issuing = server.admit(
            carrier,
            b"GET",
            self._name,
            id,
            size=carrier.stream.size,
            localHost=self._host("getHost"),
        )

        def failed(failure: Failure) -> Failure:
            error = _explained(failure)
            self._clock.callLater(0, carrier.fail, error)
            return Failure(error)

        answer: Deferred[amp.AmpBox] = issuing.addCallbacks(_ticketBox, failed)
        return answer

    def _free(self, id: int) -> Any:
        carrier: Any = self._outgoing.carrier(id)
        if carrier is None:
            raise InvalidChunk(f"there is no out-of-band stream {id} (any more)")
        if carrier.taken:
            raise StreamReused("there has been a ticket for this stream")
        return carrier

    def _checked(self, box: amp.AmpBox, method: bytes) -> Ticket:
        ticket = ticketFromBox(box)
        self._check(ticket, method)
        return ticket

    def _check(self, ticket: Ticket, method: bytes) -> None:
        if ticket.method != method:
            raise InvalidChunk(f"this ticket must be for {method.decode('ascii')}")
        self._client.check(ticket, self._host("getPeer"))

    def _host(self, method: str) -> str:
        """
        @param method: C{"getHost"} or C{"getPeer"}.

        @return: The address of that end of the AMP connection; empty if it has none,
            as with a UNIX socket.
        """
        address = getattr(self._port.transport, method)()
        if isinstance(address, (IPv4Address, IPv6Address)):
            return address.host
        return ""


def _ticketBox(ticket: Ticket) -> amp.AmpBox:
    box = amp.AmpBox()
    box.update(ticketToBox(ticket))
    return box


def _notIssued(failure: Failure, carrier: IncomingCarrier) -> None:
    carrier.fail(_explained(failure))


def _explained(failure: Failure) -> StreamError:
    """
    @return: What to tell the peer about the ticket that there is not: nothing about the
        store and where it is.
    """
    error = failure.value
    if not isinstance(error, (NobodyListens, TooManyTickets)):
        _log.error("no ticket could be issued: {error}", error=error)
        error = OutOfBandError("no ticket could be issued; see the log of the server")
    return error


def _errorOf(box: amp.AmpBox) -> StreamError:
    text = box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace")
    return errorForCode(box.get(amp.ERROR_CODE, b""), text)
