# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{amp-stream bench}, against a real C{twistd amp-stream}.
"""

from __future__ import annotations

import json
import os

from twisted.internet.defer import Deferred, ensureDeferred

from tests.twistdservice import LOCAL, TwistdTestCase


class BenchTests(TwistdTestCase):
    """
    A measurement.
    """

    def test_rows(self) -> Deferred[None]:
        """
        It has measured calls in three situations, moved the same bytes both ways, and
        left nothing behind.
        """

        async def test() -> None:
            endpoint = await self.twistd()
            options = ("--seconds", "0.2", "--size", "3M", "--json")
            output = await self.succeed("bench", endpoint, *options)
            found = json.loads(output)
            self.assertEqual(found["via"], "stream")
            rows = found["rows"]
            self.assertEqual(
                [row["what"] for row in rows], ["idle", "upload", "download"]
            )
            for row in rows:
                calls = row["calls"]
                self.assertGreaterEqual(calls["count"], 1)
                self.assertTrue(
                    0 < calls["p50"] <= calls["p99"] <= calls["longest"], calls
                )
            idle, upload, download = rows
            self.assertEqual(idle["size"], 0)
            self.assertTrue(0 < upload["size"] <= 3 * 2**20)
            self.assertEqual(upload["size"], download["size"])
            self.assertEqual(os.listdir(self.root), [])

        return ensureDeferred(test())

    def test_table(self) -> Deferred[None]:
        """
        A person gets a table.
        """

        async def test() -> None:
            endpoint = await self.twistd("--bulk", LOCAL)
            options = ("--seconds", "0.1", "--size", "64K", "--via", "oob")
            output = await self.succeed("bench", endpoint, *options)
            lines = output.decode().splitlines()
            self.assertEqual(lines[0], "a small call every 20 ms, oob")
            self.assertEqual(
                [line.split()[0] for line in lines[3:]], ["idle", "upload", "download"]
            )

        return ensureDeferred(test())

    def test_wrongSize(self) -> Deferred[None]:
        """
        A size that is none is a wrong use.
        """

        async def test() -> None:
            line = await self.complain(2, "bench", "localhost:1", "--size", "much")
            self.assertIn("--size", line)

        return ensureDeferred(test())
