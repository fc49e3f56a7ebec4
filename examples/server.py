# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A server that keeps values in files, and gives them back.

    python server.py DIRECTORY [ENDPOINT]

DIRECTORY must exist.  The default ENDPOINT is tcp:4321:interface=127.0.0.1.  For a
server to use in earnest, see "twistd amp-stream".
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.protocols import amp
from twisted.python.filepath import FilePath

from amp_stream import Stream, StreamAMP


class Store(amp.Command):
    """Keep a value."""

    arguments = [(b"name", amp.Unicode()), (b"body", Stream(digest=True))]
    response = [(b"size", amp.Integer())]


class Fetch(amp.Command):
    """Give it back."""

    arguments = [(b"name", amp.Unicode())]
    response = [(b"body", Stream(digest=True))]
    errors = {FileNotFoundError: b"NOT_FOUND"}


class Keeper(StreamAMP):
    """One connection."""

    directory = FilePath(".")

    @Store.responder
    async def store(self, name, body):
        """Write to a file beside the real one, and rename that when it is whole."""
        target = self.directory.child(name)
        partial = target.temporarySibling(".partial")
        try:
            with partial.open("wb") as file:
                size = await body.writeTo(file)
            partial.moveTo(target)
        except BaseException:
            partial.remove()
            raise
        return {"size": size}

    @Fetch.responder
    def fetch(self, name):
        """A response carries a stream in the same way."""
        path = self.directory.child(name)
        if not path.isfile():
            raise FileNotFoundError(name)
        return {"body": path}


async def main(reactor, directory, endpoint="tcp:4321:interface=127.0.0.1"):
    """Listen until somebody ends the process."""
    Keeper.directory = FilePath(directory)
    port = await serverFromString(reactor, endpoint).listen(Factory.forProtocol(Keeper))
    print(f"listening on {port.getHost()}", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda *a: Deferred.fromCoroutine(main(*a)), sys.argv[1:])
