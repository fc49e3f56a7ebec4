# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""C{twistd amp-stream}: its options, and the service that they describe."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import evolve
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from amp_stream.files._endpoints import parseSize, serverEndpoint
from amp_stream.files._server import (
    DEFAULT_MAX_CONNECTIONS,
    FileServerFactory,
    FileService,
    whyNoOutOfBand,
)
from amp_stream.files._storage import FileStore
from amp_stream.outofband import OutOfBandServer

_T = TypeVar("_T")

_TLS = ("certificate", "plain-http")


class Options(UsageOptions):
    """The options of C{twistd amp-stream}."""

    synopsis = "[options] --root DIR"
    longdesc = (
        "A file service over AMP.  Files are put, got, listed and removed with the "
        "amp-stream command, or with the AMP Commands of amp_stream.files.  There is "
        "no login: every client that reaches the port may read and replace every file."
    )
    optParameters = [
        ["root", "r", None, "The directory of the files; it is made if need be."],
        ["max-file-size", None, "16G", "The largest file: bytes, or with K, M, G, T."],
        ["max-connections", None, DEFAULT_MAX_CONNECTIONS, "Connections at once."],
        ["address-file", None, None, "A file to write the client endpoints to."],
        ["oob-listen", None, None, "Listen here for HTTPS transfers: an endpoint."],
        ["oob-certificate", None, None, "A PEM file: key and certificate."],
        ["oob-url", None, None, "Where clients reach --oob-listen: https://HOST:PORT/"],
    ]
    optFlags = [["oob-plain-http", None, "Speak plain HTTP at --oob-listen: no TLS."]]

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

        self["max-file-size"] = _read("max-file-size", parseSize, self["max-file-size"])
        most = str(self["max-connections"])
        self["max-connections"] = _read("max-connections", _readCount, most)
        if self["root"] is None:
            raise UsageError("--root is missing: the directory of the files")
        for name in ("root", "address-file"):
            if self[name] is not None:
                self[name] = os.path.abspath(self[name])
        _read("root", os.makedirs, self["root"], exist_ok=True)
        self["listen"] = self["listen"] or ["tcp:4321:interface=127.0.0.1"]
        self["endpoints"] = [
            _read("listen", serverEndpoint, reactor, each) for each in self["listen"]
        ]
        self["oob-server"] = _outOfBandServer(self, reactor)


def _read(option: str, read: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """
    Call a function.

    @raise UsageError: The function raised an exception, and this option is the reason.
    """
    try:
        return read(*args, **kwargs)
    except (ValueError, OSError) as error:
        raise UsageError(f"--{option}: {error}") from error


def _readCount(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{text!r} is not a number of at least 1")
    return int(text)


def makeService(config: Any) -> FileService:
    """
    Make the service that the options describe.

    @param config: Parsed L{Options}.
    """
    store = FileStore(config["root"], maxFileSize=config["max-file-size"])
    streams = evolve(
        FileServerFactory.protocol.streamConfig, outOfBandServer=config["oob-server"]
    )
    factory = FileServerFactory(
        store, maxConnections=config["max-connections"], config=streams
    )
    return FileService(config["endpoints"], factory, addressFile=config["address-file"])


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
    given = [f"--oob-{each}" for each in _TLS if options[f"oob-{each}"]]
    if where.lower().startswith("ssl:"):
        given.insert(0, "an ssl: endpoint, which has its own certificate")
    if len(given) > 1:
        raise UsageError(f"{given[-1]} does not go with {given[0]}")
    url = options["oob-url"]
    if url is not None and not url.isascii():
        raise UsageError(f"--oob-url: {url!r} is not ASCII: encode its host and path")
    _read("oob-listen", serverEndpoint, reactor, where)
    return _read(
        "oob-listen",
        OutOfBandServer,
        where,
        plainHTTP=bool(options["oob-plain-http"]),
        certificate=options["oob-certificate"],
        publicURL=url,
        reactor=reactor,
    )
