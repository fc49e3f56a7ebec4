# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The options of C{twistd amp-stream}.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from amp_stream.outofband import OutOfBandServer
from amp_stream.service import FileService
from amp_stream.tap import Options, makeService
from tests.twistdservice import LOCAL, NO_HTTP


class OptionsTests(SynchronousTestCase):
    """
    L{Options}
    """

    def setUp(self) -> None:
        """
        Name a root.
        """
        self.root = os.path.abspath(self.mktemp())

    def parse(self, *arguments: str) -> Options:
        """
        Parse options.
        """
        options = Options()
        options.parseOptions(["--root", self.root, *arguments])
        return options

    def test_defaults(self) -> None:
        """
        Only the root must be given; it is made.
        """
        options = self.parse()
        self.assertTrue(os.path.isdir(self.root))
        self.assertEqual(options["root"], self.root)
        self.assertEqual(options["max-size"], 16 * 2**30)
        self.assertEqual(options["max-connections"], 1000)
        self.assertIsNone(options["address-file"])
        self.assertEqual(
            [description for description, _ in options["endpoints"]],
            ["tcp:4321:interface=127.0.0.1"],
        )

    def test_given(self) -> None:
        """
        What is given counts; paths become absolute, as the process may change its
        directory.
        """
        options = self.parse(
            *("--listen", "tcp:1", "-l", "unix:a"),
            *("--max-size", "1M", "--max-connections", "7", "--address-file", "a"),
        )
        self.assertEqual(
            [description for description, _ in options["endpoints"]],
            ["tcp:1", "unix:a"],
        )
        self.assertEqual((options["max-size"], options["max-connections"]), (2**20, 7))
        self.assertEqual(options["address-file"], os.path.abspath("a"))

    def test_wrong(self) -> None:
        """
        What makes no sense is a usage error that says so.
        """
        for arguments, reason in [
            (["--max-size", "much"], "'much' is not a size"),
            (["--max-connections", "0"], "--max-connections"),
            (["--max-connections", "many"], "--max-connections"),
            (["--listen", "nonsense"], "--listen nonsense"),
            (["--listen", "tcp:"], "--listen tcp:"),
            (["--listen", "ssl:1:privateKey=nosuch"], "--listen ssl:"),
            (["--root", os.devnull], "--root"),
        ]:
            error = self.assertRaises(UsageError, self.parse, *arguments)
            self.assertIn(reason, str(error))

    def test_bulk(self) -> None:
        """
        Without --bulk there is no server for out-of-band transfers.  With it, there
        is one that the factory of the service hands to each connection.
        """
        self.assertIsNone(self.parse()["bulk-server"])
        for options in (
            ["--bulk", LOCAL],
            ["--bulk", LOCAL, "--bulk-plain"],
            ["--bulk", LOCAL, "--bulk-url", "https://example.com/bulk"],
        ):
            parsed = self.parse(*options)
            self.assertIsInstance(parsed["bulk-server"], OutOfBandServer)
            service: Any = makeService(parsed)
            protocol = service._factory.buildProtocol(None)
            self.assertIs(protocol.bulkServer, parsed["bulk-server"])

    test_bulk.skip = NO_HTTP  # type: ignore[attr-defined]

    def test_wrongBulk(self) -> None:
        """
        Options for out-of-band transfers that make no sense, or no sense together,
        are usage errors of one line, in terms of the options.
        """
        empty = self.mktemp()
        with open(empty, "wb"):
            pass
        bulk = ["--bulk", LOCAL]
        for arguments, reason in [
            (["--bulk-plain"], "--bulk-plain needs --bulk"),
            (["--bulk-certificate", "c"], "--bulk-certificate needs --bulk"),
            (["--bulk-url", "https://a/"], "--bulk-url needs --bulk"),
            ([*bulk, "--bulk-plain", "--bulk-certificate", "c"], "--bulk-plain does"),
            (["--bulk", "ssl:1:privateKey=k", "--bulk-plain"], "--bulk-plain does"),
            (["--bulk", "ssl:1", "--bulk-certificate", "c"], "--bulk-certificate does"),
            (["--bulk", "nonsense"], "--bulk nonsense: no server endpoint"),
            (["--bulk", "ssl:1:privateKey=nosuch"], "--bulk ssl:"),
            ([*bulk, "--bulk-certificate", "nosuch"], "No such file"),
            ([*bulk, "--bulk-certificate", empty], "there is no certificate in it"),
            ([*bulk, "--bulk-url", "ftp://a/"], "publicURL must be like"),
            ([*bulk, "--bulk-url", "https://\u00e9/"], "--bulk-url"),
        ]:
            error = self.assertRaises(UsageError, self.parse, *arguments)
            self.assertIn(reason, str(error))
            self.assertNotIn("\n", str(error))

    test_wrongBulk.skip = NO_HTTP  # type: ignore[attr-defined]

    def test_noRoot(self) -> None:
        """
        There is no default for the directory of the files.
        """
        error = self.assertRaises(UsageError, Options().parseOptions, [])
        self.assertIn("--root is missing", str(error))

    def test_makeService(self) -> None:
        """
        The options make a service.
        """
        service = makeService(self.parse())
        self.assertIsInstance(service, FileService)
        self.assertTrue(verifyObject(IService, service))
