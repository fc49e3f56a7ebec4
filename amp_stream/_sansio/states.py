# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The states of the two halves of a stream, as tables.

The names are those of RFC 9000, sections 3.1 (sending) and 3.2 (receiving), but:

 - The connection below is reliable and ordered, so a reset needs no
   acknowledgement, and nobody waits to hear that the application knows of it.

 - A receiver that gives up is done at once (C{STOPPED}): what is still under way
   is thrown away, because the connection remembers which streams have ended.

 - A reset counts until the last byte has been read.  The RFC leaves it open
   whether a value that has arrived whole survives one; here it does not.

A state that no transition leaves is an end: what happens to the stream afterwards
is ignored.  The diagrams in the documentation are made from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import TypeVar

from amp_stream.errors import UsageError

__all__ = [
    "RECEIVING",
    "SENDING",
    "ReceiveInput",
    "ReceiveState",
    "SendInput",
    "SendState",
    "advance",
]


class SendState(Enum):
    """
    Where the sending half of a stream is.
    """

    READY = auto()
    SEND = auto()
    DATA_SENT = auto()
    DATA_RECVD = auto()
    RESET_SENT = auto()


class SendInput(Enum):
    """
    What can happen to the sending half.
    """

    DATA = auto()
    FIN = auto()
    ACKNOWLEDGED = auto()
    RESET = auto()


class ReceiveState(Enum):
    """
    Where the receiving half of a stream is.
    """

    RECV = auto()
    SIZE_KNOWN = auto()
    DATA_RECVD = auto()
    DATA_READ = auto()
    RESET_RECVD = auto()
    STOPPED = auto()


class ReceiveInput(Enum):
    """
    What can happen to the receiving half.
    """

    DATA = auto()
    FIN = auto()
    COMPLETE = auto()
    READ = auto()
    RESET = auto()
    STOP = auto()


SENDING: Mapping[tuple[SendState, SendInput], SendState] = {
    (SendState.READY, SendInput.DATA): SendState.SEND,
    (SendState.READY, SendInput.FIN): SendState.DATA_SENT,
    (SendState.READY, SendInput.RESET): SendState.RESET_SENT,
    (SendState.SEND, SendInput.DATA): SendState.SEND,
    (SendState.SEND, SendInput.FIN): SendState.DATA_SENT,
    (SendState.SEND, SendInput.RESET): SendState.RESET_SENT,
    (SendState.DATA_SENT, SendInput.ACKNOWLEDGED): SendState.DATA_RECVD,
    (SendState.DATA_SENT, SendInput.RESET): SendState.RESET_SENT,
}

RECEIVING: Mapping[tuple[ReceiveState, ReceiveInput], ReceiveState] = {
    (ReceiveState.RECV, ReceiveInput.DATA): ReceiveState.RECV,
    (ReceiveState.RECV, ReceiveInput.FIN): ReceiveState.SIZE_KNOWN,
    (ReceiveState.RECV, ReceiveInput.COMPLETE): ReceiveState.DATA_RECVD,
    (ReceiveState.RECV, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.RECV, ReceiveInput.STOP): ReceiveState.STOPPED,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.DATA): ReceiveState.SIZE_KNOWN,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.FIN): ReceiveState.SIZE_KNOWN,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.COMPLETE): ReceiveState.DATA_RECVD,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.STOP): ReceiveState.STOPPED,
    (ReceiveState.DATA_RECVD, ReceiveInput.COMPLETE): ReceiveState.DATA_RECVD,
    (ReceiveState.DATA_RECVD, ReceiveInput.READ): ReceiveState.DATA_READ,
    (ReceiveState.DATA_RECVD, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.DATA_RECVD, ReceiveInput.STOP): ReceiveState.STOPPED,
}

_S = TypeVar("_S", bound=Enum)
_I = TypeVar("_I", bound=Enum)


def advance(table: Mapping[tuple[_S, _I], _S], state: _S, event: _I) -> _S:
    """
    Look a transition up.

    @return: The next state.

    @raise UsageError: If the table has no such transition: it takes a mistake
        in this program to get there, no peer can.
    """
    try:
        return table[state, event]
    except KeyError:
        raise UsageError(
            f"a stream that is {state.name} cannot take {event.name}"
        ) from None
