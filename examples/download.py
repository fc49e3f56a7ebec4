# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Get a file from the server of "server.py".

    python download.py ENDPOINT NAME FILE

ENDPOINT is, for example, tcp:127.0.0.1:4321.
"""

from __future__ import annotations

import os
import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.task import react
from twisted.protocols import amp

from amp_stream import Stream, StreamAMP


class Fetch(amp.Command):
    """As the server declares it."""

    arguments = [(b"name", amp.Unicode())]
    response = [(b"body", Stream(digest=True))]
    errors = {FileNotFoundError: b"NOT_FOUND"}


async def main(reactor, endpoint, name, filename):
    """
    Take the value piece by piece.  While this writes a piece, the next ones wait;
    if it were slow, the server would wait.
    """
    protocol = await connectProtocol(clientFromString(reactor, endpoint), StreamAMP())
    try:
        answer = await protocol.callRemote(Fetch, name=name)
    except FileNotFoundError:
        sys.exit(f"the server has no {name}")
    with open(filename + ".partial", "wb") as file:
        async for piece in answer["body"]:
            file.write(piece)
    # Had the value not come whole, the loop would have raised an error.
    os.replace(filename + ".partial", filename)
    print(f"fetched {answer['body'].received} bytes")


if __name__ == "__main__":
    react(lambda *a: Deferred.fromCoroutine(main(*a)), sys.argv[1:])
