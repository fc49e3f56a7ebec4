# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Many streams at once, with every kind of failure, between two protocols."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from amp_stream import Limits, StreamAMP, StreamConfig
from amp_stream.errors import StreamError
from amp_stream.testing import connectInMemory

LIMITS = Limits(initialWindow=262_144, chunk=30_000, maxStreams=64)


class Broken(Exception):
    """The exception of a broken source or consumer."""


class PausingConsumer:
    """A consumer that takes bytes when it is told to."""

    def __init__(self):
        self.data = bytearray()
        self.producer = None
        self.breaks = False

    def registerProducer(self, producer, streaming):
        assert streaming and IPushProducer.providedBy(producer)
        self.producer = producer
        producer.pauseProducing()

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        if self.breaks:
            raise Broken
        self.data += data


class Transfer:
    """One stream, and its expected outcome."""

    def __init__(self, sender, receiver, value, claimFirst):
        self.value = value
        self.sent = self.taken = None
        self.consumer = PausingConsumer()
        self.source = self.pieces()
        self.breakSource = False
        self.gate = None
        self.disturbed = False
        if claimFirst:
            id = sender.streams._multiplexer._sendStreams._nextId
            self.take(receiver, id)
        self.outgoing = sender.streams.send(self.source, digest=True)
        self.outgoing.done.addBoth(self.setSent)
        if not claimFirst:
            self.take(receiver, self.outgoing.id)

    def take(self, receiver, id):
        from twisted.internet.interfaces import IConsumer
        from zope.interface import directlyProvides

        directlyProvides(self.consumer, IConsumer)
        self.incoming = receiver.streams.accept(id)
        self.written = self.incoming.writeTo(self.consumer)
        self.written.addBoth(self.setTaken)

    def setSent(self, result):
        self.sent = result

    def setTaken(self, result):
        self.taken = result

    async def pieces(self):
        step = max(1, len(self.value) // 7)
        for start in range(0, len(self.value), step):
            if self.gate is not None:
                await self.gate
            if self.breakSource:
                raise Broken
            yield self.value[start : start + step]


class Interleaving(RuleBasedStateMachine):
    """
    Two connected protocols with streams both ways, any of which may stop, pause, fail
    or go on at any moment.
    """

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.pair = connectInMemory(
            StreamAMP(config=StreamConfig(limits=LIMITS, reactor=self.clock)),
            StreamAMP(config=StreamConfig(limits=LIMITS, reactor=self.clock)),
            self.clock,
        )
        self.transfers = []

    @rule(
        size=st.one_of(st.integers(0, 10), st.integers(0, 700_000)),
        byte=st.integers(0, 255),
        upward=st.booleans(),
        claimFirst=st.booleans(),
    )
    def begin(self, size, byte, upward, claimFirst):
        if len(self.transfers) >= 40:
            return
        ends = (self.pair.client, self.pair.server)
        sender, receiver = ends if upward else reversed(ends)
        value = bytes([byte]) * size
        self.transfers.append(Transfer(sender, receiver, value, claimFirst))

    @rule(steps=st.integers(1, 6))
    def move(self, steps):
        for _ in range(steps):
            self.pair.step()

    @rule(data=st.data())
    def resume(self, data):
        transfer = self.pick(data)
        if transfer is not None and transfer.consumer.producer is not None:
            transfer.consumer.producer.resumeProducing()

    @rule(data=st.data())
    def pause(self, data):
        transfer = self.pick(data)
        if transfer is not None and transfer.consumer.producer is not None:
            transfer.consumer.producer.pauseProducing()

    @rule(data=st.data())
    def holdSource(self, data):
        transfer = self.pick(data)
        if transfer is not None and transfer.gate is None:
            transfer.gate = Deferred()

    @rule(data=st.data())
    def releaseSource(self, data):
        transfer = self.pick(data)
        if transfer is not None and transfer.gate is not None:
            gate, transfer.gate = transfer.gate, None
            gate.callback(None)

    @rule(
        data=st.data(),
        how=st.sampled_from(
            ["abortOut", "abortIn", "cancelOut", "cancelIn", "source", "consumer"]
        ),
    )
    def disturb(self, data, how):
        transfer = self.pick(data)
        if transfer is None:
            return
        transfer.disturbed = True
        if how == "abortOut":
            transfer.outgoing.abort()
        elif how == "abortIn":
            transfer.incoming.abort()
        elif how == "cancelOut":
            transfer.outgoing.done.cancel()
        elif how == "cancelIn":
            transfer.written.cancel()
        elif how == "source":
            transfer.breakSource = True
        else:
            transfer.consumer.breaks = True

    def pick(self, data):
        if not self.transfers:
            return None
        return data.draw(st.sampled_from(self.transfers))

    @invariant()
    def bytesAreRight(self):
        """
        The bytes received are a beginning of the value, and all of it after
        a success.
        """
        for transfer in self.transfers:
            assert transfer.value.startswith(transfer.consumer.data)
            if isinstance(transfer.taken, int):
                assert transfer.taken == len(transfer.value)
                assert transfer.consumer.data == transfer.value
            if isinstance(transfer.sent, int):
                assert transfer.sent == len(transfer.value)
            held = transfer.incoming.received - len(transfer.consumer.data)
            assert held <= LIMITS.initialWindow or transfer.taken is not None

    def teardown(self):
        """
        Let everything go on: undisturbed streams arrive, all streams end, and
        nothing is left.
        """
        for _ in range(3):
            for transfer in self.transfers:
                if transfer.gate is not None:
                    gate, transfer.gate = transfer.gate, None
                    gate.callback(None)
                if transfer.consumer.producer is not None:
                    transfer.consumer.producer.resumeProducing()
            self.pair.flush()
        for transfer in self.transfers:
            for result in (transfer.sent, transfer.taken):
                assert result is not None
                if isinstance(result, int):
                    assert result == len(transfer.value)
                else:
                    assert transfer.disturbed, result
                    result.trap(StreamError, CancelledError, Broken)
        for protocol in (self.pair.client, self.pair.server):
            link = protocol.streams._multiplexer
            assert link._receiveStreams.streams == {}
            assert link._receiveStreams.reserved == 0
            assert link._receiveStreams.unaccepted == 0
            assert link._sendStreams.streams == {}
            assert not protocol.transport.disconnecting
            assert protocol.transport.producer is None
        assert self.clock.getDelayedCalls() == []
        self.pair.lose()


class InterleavingTests(SynchronousTestCase):
    """The state machine above, as a test."""

    exploration = True

    def test_interleavings(self):
        """Whatever happens to some streams, the others arrive whole."""
        run_state_machine_as_test(
            Interleaving,
            settings=settings(max_examples=120, stateful_step_count=40, deadline=None),
        )
