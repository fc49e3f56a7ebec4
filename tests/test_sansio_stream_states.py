# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.stream}, and the objects that keep them."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.limits import Limits
from amp_stream._sansio.stream import (
    RECEIVING,
    SENDING,
    ReceiveInput,
    ReceiveState,
    ReceiveStream,
    SendInput,
    SendState,
    SendStream,
    advance,
)
from amp_stream.errors import StreamAborted, UsageError

SEND_PATHS = {
    SendState.READY: [],
    SendState.SEND: [SendInput.DATA],
    SendState.DATA_SENT: [SendInput.FIN],
    SendState.DATA_RECVD: [SendInput.FIN, SendInput.ACKNOWLEDGED],
    SendState.RESET_SENT: [SendInput.RESET],
}
RECEIVE_PATHS = {
    ReceiveState.RECV: [],
    ReceiveState.SIZE_KNOWN: [ReceiveInput.FIN],
    ReceiveState.DATA_RECVD: [ReceiveInput.COMPLETE],
    ReceiveState.DATA_READ: [ReceiveInput.COMPLETE, ReceiveInput.READ],
    ReceiveState.RESET_RECVD: [ReceiveInput.RESET],
    ReceiveState.STOPPED: [ReceiveInput.STOP],
}


def give(stream, event):
    """Apply an input to the sending half of a stream."""
    if event is SendInput.ACKNOWLEDGED:
        stream.acknowledge()
    elif event is SendInput.RESET:
        stream.reset(StreamAborted())
    else:
        stream.send(1, event is SendInput.FIN)


class Receiver:
    """
    The receiving half of a stream of three bytes, of which C{FIN} brings the last and
    C{COMPLETE} all.
    """

    def __init__(self):
        self.stream = ReceiveStream(1, Limits())

    def give(self, event):
        """Apply an input."""
        stream = self.stream
        if event is ReceiveInput.DATA:
            stream.receive(0, b"a", False, None, False)
        elif event is ReceiveInput.FIN:
            stream.receive(2, b"c", True, None, False)
        elif event is ReceiveInput.COMPLETE:
            stream.receive(0, b"abc", True, None, False)
        elif event is ReceiveInput.RESET:
            stream.reset(StreamAborted(), 3)
        elif event is ReceiveInput.STOP:
            stream.stop(StreamAborted())
        else:
            while stream.read():
                pass
            stream.read()


class TableTests(SynchronousTestCase):
    """The state tables."""

    def test_everyPair(self):
        """
        Each pair of a state and an input leads to one state, or is an error that
        names both.
        """
        for table, states, inputs in (
            (SENDING, SendState, SendInput),
            (RECEIVING, ReceiveState, ReceiveInput),
        ):
            for state, event in product(states, inputs):
                if (state, event) in table:
                    self.assertIs(advance(table, state, event), table[state, event])
                else:
                    error = self.assertRaises(UsageError, advance, table, state, event)
                    self.assertIn(state.name, str(error))
                    self.assertIn(event.name, str(error))

    def test_reachable(self):
        """Each state can be reached from the first."""
        for table, paths in ((SENDING, SEND_PATHS), (RECEIVING, RECEIVE_PATHS)):
            for end, path in paths.items():
                state = next(iter(paths))
                for event in path:
                    state = table[state, event]
                self.assertIs(state, end)
            self.assertEqual(set(paths), {*type(end)})

    def test_ends(self):
        """The states without transitions are those in which a stream has ended."""
        for table, states, ends in (
            (SENDING, SendState, {SendState.DATA_RECVD, SendState.RESET_SENT}),
            (
                RECEIVING,
                ReceiveState,
                {
                    ReceiveState.DATA_READ,
                    ReceiveState.RESET_RECVD,
                    ReceiveState.STOPPED,
                },
            ),
        ):
            self.assertEqual(set(states) - {state for state, _ in table}, ends)

    def test_alwaysAWayToGiveUp(self):
        """A stream can be reset or stopped in every state until its end."""
        for state, event in (
            *product(SEND_PATHS, [SendInput.RESET]),
            *product(RECEIVE_PATHS, [ReceiveInput.RESET, ReceiveInput.STOP]),
        ):
            table = SENDING if isinstance(state, SendState) else RECEIVING
            if any(one is state for one, _ in table):
                self.assertIn((state, event), table)


class SendingTests(SynchronousTestCase):
    """The sending half follows its table."""

    def test_everyPair(self):
        """
        The sending half follows its table for each state and input; after the end, all
        inputs except further data are ignored.
        """
        for state, event in product(SEND_PATHS, SendInput):
            stream = SendStream(1)
            for earlier in SEND_PATHS[state]:
                give(stream, earlier)
            self.assertIs(stream.state, state)
            if (state, event) in SENDING:
                give(stream, event)
                self.assertIs(stream.state, SENDING[state, event])
            elif event in (SendInput.DATA, SendInput.FIN):
                self.assertRaises(UsageError, give, stream, event)
                self.assertIs(stream.state, state)
            else:
                give(stream, event)
                self.assertIs(stream.state, state)

    @given(st.lists(st.sampled_from(SendInput)))
    def test_anyOrder(self, events):
        """The sending half follows its table for any inputs in any order."""
        stream = SendStream(1)
        state = SendState.READY
        for event in events:
            try:
                give(stream, event)
            except UsageError:
                self.assertNotIn((state, event), SENDING)
            state = SENDING.get((state, event), state)
            self.assertIs(stream.state, state)


class ReceivingTests(SynchronousTestCase):
    """The receiving half follows its table."""

    def after(self, state, event):
        """
        @return: The state after an input. A chunk that a complete stream gets again
            completes it again.
        """
        if state is ReceiveState.DATA_RECVD and event in (
            ReceiveInput.DATA,
            ReceiveInput.FIN,
        ):
            event = ReceiveInput.COMPLETE
        return RECEIVING.get((state, event), state)

    def test_everyPair(self):
        """
        The receiving half follows its table for each state and input, and ignores
        inputs after its end.
        """
        for state, event in product(RECEIVE_PATHS, ReceiveInput):
            receiver = Receiver()
            for earlier in RECEIVE_PATHS[state]:
                receiver.give(earlier)
            self.assertIs(receiver.stream.state, state)
            receiver.give(event)
            self.assertIs(receiver.stream.state, self.after(state, event))

    @given(st.lists(st.sampled_from(ReceiveInput)))
    def test_anyOrder(self, events):
        """The receiving half follows its table for any inputs in any order."""
        receiver = Receiver()
        state = ReceiveState.RECV
        for event in events:
            receiver.give(event)
            state = self.after(state, event)
            self.assertIs(receiver.stream.state, state)
