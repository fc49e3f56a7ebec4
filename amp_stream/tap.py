# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
C{twistd amp-stream}: its options, and the service that they describe.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.python import usage

from amp_stream.bulkoptions import BULK_FLAGS, BULK_PARAMETERS, bulkServerOf
from amp_stream.fileserver import DEFAULT_MAX_CONNECTIONS, FileServiceFactory
from amp_stream.service import FileService
from amp_stream.sizes import parseSize
from amp_stream.storage import FileStore

__all__ = ["Options", "makeService"]

DEFAULT_LISTEN = "tcp:4321:interface=127.0.0.1"


class Options(usage.Options):
    """
    What C{twistd amp-stream} understands.
    """

    synopsis = "[options] --root DIR"
    longdesc = (
        "A file service over AMP.  Files are put, got, listed and removed with the "
        "amp-stream command, or with the AMP Commands of amp_stream.files.  There is "
        "no login: whoever reaches the port may read and replace every file."
    )
    optParameters = [
        ["root", "r", None, "The directory of the files; it is made if need be."],
        [
            "max-size",
            None,
            "16G",
            "The largest file to take, in bytes, or with K, M, G or T.",
        ],
        [
            "max-connections",
            None,
            str(DEFAULT_MAX_CONNECTIONS),
            "How many connections to serve at once.",
        ],
        [
            "address-file",
            None,
            None,
            "A file for client endpoint strings, one per --listen, once all are open.",
        ],
        *BULK_PARAMETERS,
    ]
    optFlags = BULK_FLAGS
    compData = usage.Completions(
        optActions={
            "root": usage.CompleteDirs(),
            "address-file": usage.CompleteFiles(),
            "bulk-certificate": usage.CompleteFiles(),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_listen(self, description: str) -> None:
        """
        Where to listen, a Twisted server endpoint string; may be given several
        times.  [default: tcp:4321:interface=127.0.0.1]
        """
        self["listen"].append(description)

    opt_l = opt_listen

    def postOptions(self) -> None:
        """
        Complete and check what was given.
        """
        # twistd has installed the reactor that it was told to, by now.
        from twisted.internet import reactor

        try:
            self["max-size"] = parseSize(self["max-size"])
        except ValueError as error:
            raise usage.UsageError(f"--max-size: {error}") from error
        most = self["max-connections"]
        if not (most.isascii() and most.isdigit() and int(most)):
            raise usage.UsageError(f"--max-connections: {most!r} is no such number")
        self["max-connections"] = int(most)
        if self["root"] is None:
            raise usage.UsageError("--root is missing: the directory of the files")
        self["root"] = os.path.abspath(self["root"])
        try:
            os.makedirs(self["root"], exist_ok=True)
        except OSError as error:
            raise usage.UsageError(f"--root: {error}") from error
        if self["address-file"] is not None:
            self["address-file"] = os.path.abspath(self["address-file"])
        self["endpoints"] = []
        for description in self["listen"] or [DEFAULT_LISTEN]:
            try:
                endpoint = serverFromString(reactor, description)
            except Exception as error:
                # The parsers are plugins, and raise whatever they meet.
                raise usage.UsageError(
                    f"--listen {description}: no server endpoint ({error})"
                ) from error
            self["endpoints"].append((description, endpoint))
        self["bulk-server"] = bulkServerOf(self, reactor)


def makeService(config: Any) -> IService:
    """
    Make the service that the options describe.

    @param config: Parsed L{Options}.
    """
    from twisted.internet import reactor

    factory = FileServiceFactory(
        FileStore(config["root"], config["max-size"]),
        maxConnections=config["max-connections"],
        bulkServer=config["bulk-server"],
    )
    service: IService = FileService(
        reactor,
        config["endpoints"],
        factory,
        config["address-file"],
    )
    return service
