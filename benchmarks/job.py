# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""What the two processes of a run are told to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["ENDLESS", "Job"]

ENDLESS = 2**60
"""
The size of a transfer that goes on until the client ends.
"""


@dataclass
class Job:
    """
    One run: who talks to whom, and what they do.

    With C{seconds} the bulk goes on for that long, and what counts is how long small
    calls take meanwhile (with a C{size}, too, the bulk has an end, and the run is over
    when all of it has come); otherwise each stream has C{size} bytes, and what counts
    is how long that takes.  With C{calls} there is no bulk, only that many calls.

    @ivar unix: Whether they talk over a UNIX socket, and not over TCP.

    @ivar interval: From one small call to the next (seconds); 0 for none.

    @ivar idle: How long to make small calls before the bulk begins (seconds).

    @ivar inFlight: How many of the C{calls} are on their way at once.

    @ivar warm: How many bytes to move before anything is measured.

    @ivar snapshotAt: At how many bytes to note how far each stream is.

    @ivar leaves: Whether the client ends as soon as it has measured, with all of its
        connections, while others go on.

    @ivar package: A directory with another version of amp_stream.

    @ivar directory: For files of this run.
    """

    peer: str
    host: str = "127.0.0.1"
    port: int = 0
    unix: bool = False
    noDelay: bool = False
    certificate: str = ""
    directory: str = ""
    up: int = 1
    down: int = 0
    size: int = 0
    seconds: float = 0.0
    connections: int = 1
    interval: float = 0.0
    idle: float = 0.0
    calls: int = 0
    inFlight: int = 1
    warm: int = 2**20
    snapshotAt: int = 0
    profile: bool = False
    leaves: bool = False
    package: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def toJson(self) -> str:
        """Write it for the command line of a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def fromJson(cls, text: str) -> Job:
        """Read it there."""
        return cls(**json.loads(text))
