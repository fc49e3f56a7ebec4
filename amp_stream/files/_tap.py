# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""C{twistd amp-stream}: its options, and the service that they describe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import CompleteDirs, CompleteFiles, Completions, UsageError
from twisted.python.usage import Options as UsageOptions

from amp_stream.files._endpoints import parseSize, serverEndpoint
from amp_stream.files._server import (
    DEFAULT_MAX_CONNECTIONS,
    FileServerFactory,
    FileService,
    whyNoOutOfBand,
)
from amp_stream.files._storage import FileStore
from amp_stream.outofband import OutOfBandServer

_DEFAULT_LISTEN = "tcp:4321:interface=127.0.0.1"
_PARAMETERS = [
    ("root", None, "The directory of the files; it is made if need be."),
    ("max-file-size", "16G", "The largest file to take: bytes, or with K, M, G, T."),
    ("max-connections", DEFAULT_MAX_CONNECTIONS, "How many to serve at once."),
    ("address-file", None, "A file that gets a client endpoint string per --listen."),
    ("oob-listen", None, "Where to listen for out-of-band transfers: an endpoint."),
    (
        "oob-certificate",
        None,
        "A PEM file with key and certificate for --oob-listen.",
    ),
    ("oob-url", None, "Where clients reach --oob-listen: https://HOST:PORT/"),
]


class Options(UsageOptions):
    """The options of C{twistd amp-stream}."""

    synopsis = "[options] --root DIR"
    longdesc = (
        "A file service over AMP.  Files are put, got, listed and removed with the "
        "amp-stream command, or with the AMP Commands of amp_stream.files.  There is "
        "no login: every client that reaches the port may read and replace every file."
    )
    optParameters = [
        [name, "r" if name == "root" else None, default, text]
        for name, default, text in _PARAMETERS
    ]
    optFlags = [["oob-plain-http", None, "Speak plain HTTP at --oob-listen: no TLS."]]
    compData = Completions(
        optActions={
            "root": CompleteDirs(),
            "address-file": CompleteFiles(),
            "oob-certificate": CompleteFiles(),
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
        """Complete and check the options."""
        # twistd has installed the reactor that it was told to, by now.
        from twisted.internet import reactor

        try:
            self["max-file-size"] = parseSize(self["max-file-size"])
        except ValueError as error:
            raise UsageError(f"--max-file-size: {error}") from error
        most = str(self["max-connections"])
        if not (most.isascii() and most.isdigit() and int(most)):
            raise UsageError(
                f"--max-connections: {most!r} is not a number of at least 1"
            )
        self["max-connections"] = int(most)
        if self["root"] is None:
            raise UsageError("--root is missing: the directory of the files")
        self["root"] = os.path.abspath(self["root"])
        try:
            os.makedirs(self["root"], exist_ok=True)
        except OSError as error:
            raise UsageError(f"--root: {error}") from error
        if self["address-file"] is not None:
            self["address-file"] = os.path.abspath(self["address-file"])
        self["listen"] = self["listen"] or [_DEFAULT_LISTEN]
        self["endpoints"] = [
            _endpoint("listen", each, reactor) for each in self["listen"]
        ]
        self["oob-server"] = _outOfBandServer(self, reactor)


def makeService(config: Any) -> IService:
    """
    Make the service that the options describe.

    @param config: Parsed L{Options}.
    """
    factory = FileServerFactory(
        FileStore(config["root"], maxFileSize=config["max-file-size"]),
        maxConnections=config["max-connections"],
        bulkServer=config["oob-server"],
    )
    service: IService = FileService(
        config["endpoints"], factory, addressFile=config["address-file"]
    )
    return service


def _outOfBandServer(
    options: Mapping[str, Any], reactor: Any
) -> OutOfBandServer | None:
    """
    Make the server that the options describe.

    @return: The server, not started, or L{None} if none is wanted.

    @raise UsageError: The options do not go together, or one of them is wrong.
    """
    where = options["oob-listen"]
    if where is None:
        for option in ("oob-certificate", "oob-url", "oob-plain-http"):
            if options[option]:
                raise UsageError(f"--{option} needs --oob-listen")
        return None
    obstacle = whyNoOutOfBand()
    if obstacle is not None:
        raise UsageError(f"--oob-listen: {obstacle}")
    certificate, plain = options["oob-certificate"], bool(options["oob-plain-http"])
    ownTLS = where.lower().startswith("ssl:")
    if plain and (ownTLS or certificate):
        other = "an ssl: endpoint" if ownTLS else "--oob-certificate"
        raise UsageError(f"--oob-plain-http does not go with {other}")
    if ownTLS and certificate:
        raise UsageError(
            "--oob-certificate does not go with an ssl: endpoint, which has its own"
        )
    url = options["oob-url"]
    if url is not None and not url.isascii():
        raise UsageError("--oob-url: write a URL with ASCII only")
    _endpoint("oob-listen", where, reactor)
    try:
        return OutOfBandServer(
            where,
            plainHTTP=plain,
            certificate=certificate,
            publicURL=url,
            reactor=reactor,
        )
    except (ValueError, OSError) as error:
        raise UsageError(f"--oob-listen: {error}") from error


def _endpoint(option: str, text: str, reactor: Any) -> Any:
    try:
        return serverEndpoint(reactor, text)
    except ValueError as error:
        raise UsageError(f"--{option}: {error}") from error
