# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The table of all peers."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["PEERS", "Entry"]


@dataclass(frozen=True)
class Entry:
    """
    One peer.

    @ivar label: What tables call it.

    @ivar where: Its class, as C{module:name} below C{benchmarks.peers}.

    @ivar options: What to tell that class.

    @ivar tls: Whether it runs over TLS.

    @ivar certified: Whether it needs a certificate without being a peer of TLS.

    @ivar calls: Whether it has small calls on the same connection as the bulk.

    @ivar noDelay: Whether it sets TCP_NODELAY of its own accord, so that a second row
        for that would be the same.

    @ivar needs: The libraries, as C{(module, distribution)}.

    @ivar share: How much of the usual size is enough, because it is slow.

    @ivar downloads: Which way its bulk goes when there is only one: peers of HTTP have
        an entry for each.
    """

    label: str
    where: str
    options: dict[str, Any] = field(default_factory=dict)
    tls: bool = False
    certified: bool = False
    calls: bool = False
    noDelay: bool = False
    needs: tuple[tuple[str, str], ...] = ()
    share: float = 1.0
    downloads: bool = False

    def load(self) -> Any:
        """Import its class."""
        module, name = self.where.split(":")
        return getattr(import_module(f"benchmarks.peers.{module}"), name)

    def unavailable(self) -> str:
        """@return: Why it cannot be run here, or nothing."""
        lacking = [name for module, name in self.needs if not _isThere(module)]
        return f"not run: install {' '.join(lacking)}" if lacking else ""


def _isThere(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


_TLS = (("OpenSSL", "pyOpenSSL"), ("service_identity", "service-identity"))
_GRPC = (("grpc", "grpcio"),)
_TREQ = (("treq", "treq"),)
_MIB = 2**20

PEERS = {
    "raw": Entry("raw Twisted TCP", "raw:Raw"),
    "raw-256k": Entry(
        "raw Twisted TCP, 256 KiB blocks and reads", "raw:Raw", {"block": 262144}
    ),
    "stream": Entry("Stream", "streams:Streams", calls=True, noDelay=True),
    "stream-wide": Entry(
        "Stream, windows up to 512 MiB",
        "streams:Streams",
        {"limits": {"maxWindow": 512 * _MIB, "maxBufferedBytes": 512 * _MIB}},
        calls=True,
        noDelay=True,
    ),
    "stream-unbounded": Entry(
        "Stream, no bound in flight",
        "streams:Streams",
        {"limits": {"maxBulkDelay": None}},
        calls=True,
        noDelay=True,
    ),
    "trial": Entry("twisted.trial stream", "trialstream:Trial", calls=True, share=0.25),
    "amp-1": Entry("AMP, 1 call in flight", "stock:Window", {"window": 1}, calls=True),
    "amp-4": Entry("AMP, 4 calls in flight", "stock:Window", {"window": 4}, calls=True),
    "amp-16": Entry(
        "AMP, 16 calls in flight", "stock:Window", {"window": 16}, calls=True
    ),
    "amp-push": Entry("AMP, push producer", "stock:Push", calls=True),
    "naive-1m": Entry(
        "naive BigString, 1 MiB",
        "bigvalues:Naive",
        {"value": _MIB},
        calls=True,
        share=0.25,
    ),
    "naive-4m": Entry(
        "naive BigString, 4 MiB",
        "bigvalues:Naive",
        {"value": 4 * _MIB},
        calls=True,
        share=0.25,
    ),
    "naive-64m": Entry(
        "naive BigString, 64 MiB", "bigvalues:Naive", {"value": 64 * _MIB}, calls=True
    ),
    "bigstring-64m": Entry(
        "BigString, 64 MiB",
        "bigvalues:Big",
        {"value": 64 * _MIB},
        calls=True,
        noDelay=True,
    ),
    "pb-file": Entry("PB FilePager", "pagers:FilePages", calls=True, share=0.25),
    "pb-string": Entry("PB StringPager", "pagers:StringPages", calls=True, share=0.25),
    "foolscap": Entry(
        "foolscap (always TLS)",
        "foolscaps:Foolscap",
        calls=True,
        certified=True,
        needs=(("foolscap", "foolscap"), *_TLS),
        share=0.25,
    ),
    "grpc": Entry(
        "gRPC Python, client streaming",
        "grpcs:Grpc",
        calls=True,
        noDelay=True,
        needs=_GRPC,
        share=0.5,
    ),
    "http-put": Entry("HTTP PUT, twisted.web", "http:Agents"),
    "http-get": Entry("HTTP GET, twisted.web", "http:Agents", downloads=True),
    "treq-put": Entry("HTTP PUT, treq", "treqs:Treqs", needs=_TREQ),
    "treq-get": Entry("HTTP GET, treq", "treqs:Treqs", needs=_TREQ, downloads=True),
    "static": Entry("HTTP GET, twisted.web static file", "http:Static", downloads=True),
    "raw-tls": Entry("raw Twisted TLS", "raw:Raw", tls=True, needs=_TLS),
    "stream-tls": Entry(
        "Stream, TLS", "streams:Streams", tls=True, calls=True, noDelay=True, needs=_TLS
    ),
    "https-put": Entry("HTTPS PUT, twisted.web", "http:Agents", tls=True, needs=_TLS),
    "https-get": Entry(
        "HTTPS GET, twisted.web", "http:Agents", tls=True, needs=_TLS, downloads=True
    ),
    "treq-tls-put": Entry(
        "HTTPS PUT, treq", "treqs:Treqs", tls=True, needs=_TLS + _TREQ
    ),
    "treq-tls-get": Entry(
        "HTTPS GET, treq", "treqs:Treqs", tls=True, needs=_TLS + _TREQ, downloads=True
    ),
    "oob": Entry(
        "OutOfBand, plain",
        "outofband:OutOfBand",
        calls=True,
        noDelay=True,
        downloads=True,
    ),
    "oob-tls": Entry(
        "OutOfBand, TLS",
        "outofband:OutOfBand",
        tls=True,
        calls=True,
        noDelay=True,
        needs=_TLS,
        downloads=True,
    ),
    "values-stock": Entry(
        "AMP, a value in a String",
        "values:Values",
        {"protocol": "stock", "command": "ordinary"},
        calls=True,
    ),
    "values-string": Entry(
        "StreamAMP, a value in a String",
        "values:Values",
        {"protocol": "stream", "command": "ordinary"},
        calls=True,
        noDelay=True,
    ),
    "values-stream": Entry(
        "StreamAMP, a value in a Stream",
        "values:Values",
        {"protocol": "stream", "command": "streamed"},
        calls=True,
        noDelay=True,
    ),
    "amp": Entry("AMP", "stock:Window", {"window": 1}, calls=True),
}
