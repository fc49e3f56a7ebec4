# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Send a file to the server of "server.py" without this package.

    python stop_and_wait.py ENDPOINT FILE

This client is a plain amp.AMP, and could be one in any language: it announces the
stream with the call, sends one chunk, waits for the answer, and sends the next.  The
answers are all the flow control that it needs.  What it pays is a round trip for each
chunk.
"""

from __future__ import annotations

import os
import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.task import react
from twisted.protocols import amp

CHUNK = 65_535
STREAM = b"0"


async def main(reactor, endpoint, filename):
    """The boxes are written out here, to show that there is nothing more to them."""
    protocol = await connectProtocol(clientFromString(reactor, endpoint), amp.AMP())
    left = os.path.getsize(filename)
    stored = protocol.callRemoteString(
        b"Store",
        name=os.path.basename(filename).encode(),
        body=STREAM,
        **{"body.size": b"%d" % left},
    )
    offset = 0
    with open(filename, "rb") as file:
        while True:
            data = file.read(CHUNK)
            left -= len(data)
            chunk = {"id": STREAM, "offset": b"%d" % offset, "data": data}
            if not left:
                chunk["fin"] = b"True"
            await protocol.callRemoteString(b"stream.Data", **chunk)
            offset += len(data)
            if not left:
                break
    answer = await stored
    print(f"stored {int(answer[b'size'])} bytes")


if __name__ == "__main__":
    react(lambda *a: Deferred.fromCoroutine(main(*a)), sys.argv[1:])
