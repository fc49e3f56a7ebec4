# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The rules of L{amp_stream._sansio.streams}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from amp_stream._sansio.streams import Turns

IDS = st.integers(0, 5)


class TurnsTests(SynchronousTestCase):
    """
    Round robin.
    """

    def test_nobody(self):
        """
        Where nobody waits it is nobody's turn.
        """
        turns = Turns()
        self.assertFalse(turns)
        self.assertIsNone(turns.next())
        turns.discard(1)

    def test_inOrder(self):
        """
        Those who wait get their turns in the order in which they came, zero like
        any other.
        """
        turns = Turns()
        for id in (3, 0, 7):
            turns.add(id)
        self.assertTrue(turns)
        self.assertEqual([turns.next() for _ in range(4)], [3, 0, 7, None])
        self.assertFalse(turns)

    def test_oncePerRound(self):
        """
        Who waits already neither gets a second turn nor loses its place by asking
        again.
        """
        turns = Turns()
        for id in (1, 2, 1):
            turns.add(id)
        self.assertEqual([turns.next() for _ in range(3)], [1, 2, None])

    def test_discard(self):
        """
        Who no longer waits is passed over, and comes last when it waits again.
        """
        turns = Turns()
        for id in (1, 2, 3):
            turns.add(id)
        turns.discard(1)
        turns.discard(2)
        turns.add(1)
        self.assertEqual([turns.next() for _ in range(3)], [3, 1, None])

    @given(st.lists(st.tuples(st.sampled_from(["add", "discard", "next"]), IDS)))
    def test_fair(self, steps):
        """
        Nobody gets two turns while another waits for its first: between two turns
        of one, each that has waited all the time has had exactly one.
        """
        turns = Turns()
        model = []
        since = {}
        for step, id in steps:
            if step == "add":
                turns.add(id)
                if id not in model:
                    model.append(id)
                    since[id] = []
            elif step == "discard":
                turns.discard(id)
                if id in model:
                    model.remove(id)
            else:
                chosen = turns.next()
                self.assertEqual(chosen, model.pop(0) if model else None)
                for waiting in model:
                    self.assertNotIn(chosen, since[waiting])
                    since[waiting].append(chosen)
            self.assertEqual(bool(turns), bool(model))
