# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A ticket in the words of curl.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from amp_stream.curl import curlArguments, curlConfig
from amp_stream.outofband import Ticket

TOKEN = "T" * 43


def ticket(url: str = "https://h:8443/", serverName: str = "") -> Ticket:
    """
    Make a ticket.
    """
    return Ticket(
        url=url,
        token=TOKEN.encode("ascii"),
        method=b"GET",
        lifetime=60,
        serverName=serverName,
    )


class ArgumentTests(SynchronousTestCase):
    """
    L{curlArguments}
    """

    def test_simple(self) -> None:
        """
        The token is in a header, and an answer that is an error writes no file.
        """
        self.assertEqual(
            curlArguments(ticket(), "a", "pem"),
            [
                *("--fail", "--cacert", "pem"),
                *("--header", f"Authorization: Bearer {TOKEN}"),
                *("--output", "a", "--url", "https://h:8443/"),
            ],
        )

    def test_authority(self) -> None:
        """
        Without a certificate, the authorities that curl knows vouch for the server.
        """
        self.assertNotIn("--cacert", curlArguments(ticket(), "a", None))

    def test_otherName(self) -> None:
        """
        The URL has the name of the certificate, and the connection leads to the host
        and the port of the ticket.
        """
        for url, there, written in [
            ("https://h:8443/", "n:8443:h:8443", "https://n:8443/"),
            ("https://h/p/q", "n:443:h:443", "https://n:443/p/q"),
            ("https://[::1]:8443/", "n:8443:[::1]:8443", "https://n:8443/"),
        ]:
            arguments = curlArguments(ticket(url, "n"), "a", None)
            self.assertEqual(arguments[1:3], ["--connect-to", there])
            self.assertEqual(arguments[-1], written)
        arguments = curlArguments(ticket("https://h/", "::1"), "a", None)
        self.assertEqual(arguments[2], "[::1]:443:h:443")
        self.assertNotIn("--connect-to", curlArguments(ticket(serverName="h"), "a", ""))

    def test_dash(self) -> None:
        """
        A name that means something else to curl is that of a file.
        """
        arguments = curlArguments(ticket(), "-", None)
        self.assertEqual(arguments[arguments.index("--output") + 1], "./-")


class ConfigTests(SynchronousTestCase):
    """
    L{curlConfig}
    """

    def test_lines(self) -> None:
        """
        Each option is a line, and its value is quoted as curl reads it.
        """
        self.assertEqual(
            curlConfig(ticket(), 'a "b\\', "p\tem").splitlines(),
            [
                "fail",
                'cacert = "p\\tem"',
                f'header = "Authorization: Bearer {TOKEN}"',
                'output = "a \\"b\\\\"',
                'url = "https://h:8443/"',
            ],
        )
