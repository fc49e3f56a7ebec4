# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The rules of L{amp_stream._sansio.reassembly}."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.reassembly import PieceQueue
from tests.rules import VALUE

LENGTHS = st.one_of(
    st.integers(0, 3), st.integers(2046, 2050), st.sampled_from([65_535, 70_000])
)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["append", "prepend", "pop", "extend"]), LENGTHS),
    max_size=60,
)


def cost(queue):
    """@return: How many bytes of memory a queue needs for its pieces."""
    return sum(sys.getsizeof(piece) + 8 for piece in queue)


class PieceQueueTests(SynchronousTestCase):
    """A queue of bytes."""

    def test_empty(self):
        """An empty queue returns no bytes, however often it is asked."""
        queue = PieceQueue()
        queue.append(b"")
        queue.prepend(b"")
        queue.extend(PieceQueue())
        self.assertEqual((queue.pop(), queue.pop(), queue.join()), (b"",) * 3)
        self.assertEqual((queue.size, list(queue)), (0, []))
        self.assertFalse(queue.differs(0, memoryview(b"")))

    def test_largeIsNotCopied(self):
        """A large piece is popped as the object that was added."""
        queue = PieceQueue()
        large = VALUE[:2048]
        queue.append(b"before")
        queue.append(large)
        queue.append(b"behind")
        self.assertEqual(queue.pop(), b"before")
        self.assertIs(queue.pop(), large)
        self.assertEqual(queue.pop(), b"behind")

    def test_popGivesBytes(self):
        """C{pop} returns immutable C{bytes}, also when it joins small pieces."""
        queue = PieceQueue()
        queue.append(b"a")
        queue.append(b"b")
        self.assertIs(type(queue.pop()), bytes)

    def test_join(self):
        """C{join} returns every byte at once, and empties the queue."""
        queue = PieceQueue()
        for piece in (b"ab", VALUE[:5000], b"cd"):
            queue.append(piece)
        self.assertEqual(queue.join(), b"ab" + VALUE[:5000] + b"cd")
        self.assertEqual((queue.size, queue.pop()), (0, b""))

    def test_clear(self):
        """A queue that was cleared can be used again."""
        queue = PieceQueue()
        queue.append(b"abc")
        queue.clear()
        queue.append(b"de")
        self.assertEqual((queue.size, queue.join()), (2, b"de"))

    def test_smallPiecesCostLittle(self):
        """
        Pieces of one byte cost little more memory than a large one, at either end and
        between large ones.
        """
        for add in (PieceQueue.append, PieceQueue.prepend):
            queue = PieceQueue()
            for _ in range(150_000):
                add(queue, b"x")
            self.assertLess(cost(queue), 1.3 * 150_000)
        queue = PieceQueue()
        for n in range(2000):
            queue.append(b"x" if n % 2 else VALUE[:2048])
        self.assertLess(cost(queue), 1.3 * queue.size)

    def test_smallQueuesCostLittle(self):
        """
        Extending a queue with many small queues costs little more memory than
        their bytes.
        """
        queue = PieceQueue()
        for _ in range(10_000):
            other = PieceQueue()
            other.append(b"x")
            queue.extend(other)
        self.assertEqual(queue.join(), b"x" * 10_000)
        for _ in range(10_000):
            other = PieceQueue()
            other.append(b"x")
            queue.extend(other)
        self.assertLess(cost(queue), 1.3 * 10_000)

    @given(OPERATIONS)
    def test_order(self, operations):
        """Bytes are popped in order, however they were added."""
        queue, model = PieceQueue(), b""
        for operation, length in operations:
            data = VALUE[length : 2 * length]
            if operation == "append":
                queue.append(data)
                model += data
            elif operation == "prepend":
                queue.prepend(data)
                model = data + model
            elif operation == "extend":
                other = PieceQueue()
                for piece in (data, data[:5]):
                    other.append(piece)
                queue.extend(other)
                model += data + data[:5]
            else:
                taken = queue.pop()
                self.assertEqual(bool(taken), bool(model))
                self.assertTrue(model.startswith(taken))
                model = model[len(taken) :]
            self.assertEqual(queue.size, len(model))
        self.assertEqual(b"".join(queue), model)

    @given(st.lists(st.integers(1, 3000), min_size=1, max_size=20), st.data())
    def test_differs(self, lengths, data):
        """
        C{differs} compares a part with the bytes at its offset, across pieces, and
        ignores any beyond the end.
        """
        queue = PieceQueue()
        end = 0
        for length in lengths:
            queue.append(VALUE[end : end + length])
            end += length
        start = data.draw(st.integers(0, end))
        part = bytearray(VALUE[start : data.draw(st.integers(start, end))])
        self.assertFalse(queue.differs(start, memoryview(part)))
        if part:
            wrong = data.draw(st.integers(0, len(part) - 1))
            part[wrong] ^= 1
            self.assertTrue(queue.differs(start, memoryview(part)))
        beyond = VALUE[start:end] + b"more"
        self.assertFalse(queue.differs(start, memoryview(beyond)))
