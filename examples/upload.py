# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Send a file to the server of "server.py".

    python upload.py ENDPOINT FILE

ENDPOINT is, for example, tcp:127.0.0.1:4321.
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.task import react
from twisted.protocols import amp
from twisted.python.filepath import FilePath

from amp_stream import Stream, StreamAMP


class Store(amp.Command):
    """As the server declares it."""

    arguments = [(b"name", amp.Unicode()), (b"body", Stream(digest=True))]
    response = [(b"size", amp.Integer())]


async def main(reactor, endpoint, filename):
    """
    The value of the argument may be a path, an open file, bytes, or anything that
    bytes can be taken from one after the other.
    """
    path = FilePath(filename)
    protocol = await connectProtocol(clientFromString(reactor, endpoint), StreamAMP())
    answer = await protocol.callRemote(Store, name=path.basename(), body=path)
    print(f"stored {answer['size']} bytes")


if __name__ == "__main__":
    react(lambda *a: Deferred.fromCoroutine(main(*a)), sys.argv[1:])
