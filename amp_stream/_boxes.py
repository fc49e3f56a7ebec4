# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Boxes as Twisted's AMP takes them: requests and answers, their errors, their streams.

L{StreamBox} knows the connection that it came by, and the streams that it announced.

L{BoxErrors} gives an error of parsing the form after which AMP keeps the connection.
When parsing the arguments of a request fails, C{amp.AMP} answers the caller and keeps
the connection only if the exception is a C{RemoteAmpError}; after any other it hangs
up.  When parsing a response fails, the exception goes to the caller's Deferred, and
there a C{RemoteAmpError} would lose its class.  The key C{_answer} tells a response
from a request.  An item of an C{AmpList} or C{ListOf} has no such key, and counts as a
request: an error that lost its class is better than a lost connection.

L{localError} does the same for a box that cannot be written: the exception is one of
C{amp.AMP} and one of this package at once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import lru_cache
from types import TracebackType
from typing import Any

from twisted.logger import Logger
from twisted.protocols import amp
from twisted.protocols.amp import ANSWER, RemoteAmpError
from twisted.python.failure import Failure

from amp_stream._sansio.boxes import MAX_KEY, MAX_SEGMENT
from amp_stream.errors import FramingError, OversizeValue, StreamError, UsageError


def checkKeys(
    argument: object, keys: Iterable[bytes], box: amp.AmpBox, objects: dict[str, Any]
) -> None:
    """
    Check that no other argument of a command uses a key that C{argument} needs.

    @param keys: The keys that it needs.

    @param box: The keys and values that were written before.

    @param objects: The values of all arguments, by name.

    @raise UsageError: If one does.
    """
    for key in keys:
        if key in box or argumentKey(key) in objects:
            raise UsageError(
                f"{type(argument).__name__} needs the key {key!r}, which another "
                "argument of this command has too; rename that one"
            )


class BoxErrors:
    """
    Parse within this, and every L{StreamError} leaves it in the right form: as it was
    raised, if the box is a response; as a C{RemoteAmpError} with its code and its text,
    if the box is a request, or part of a box of either kind.
    """

    __slots__ = ("_box",)

    def __init__(self, box: Container[bytes] = ()) -> None:
        """@param box: The box that is parsed; nothing, if it is not known."""
        self._box = box

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, StreamError) and ANSWER not in self._box:
            raise RemoteAmpError(
                error.code, str(error), fatal=False, local=Failure(error)
            ) from error


_log = Logger()


class OversizeValueTooLong(OversizeValue, amp.TooLong):
    """A value that cannot be sent to this peer, for those who expect C{amp.TooLong}."""

    def __init__(self, message: str, key: bytes, value: bytes) -> None:
        super().__init__(message)
        self.isKey = False
        self.isLocal = True
        self.value = value
        self.keyName = key


def localError(error: BaseException, box: amp.AmpBox) -> BaseException:
    """
    @param error: What came of writing a box.

    @return: The exception to raise.
    """
    if isinstance(error, OversizeValue):
        for key, value in sorted(box.items()):
            if len(value) > MAX_SEGMENT:
                return OversizeValueTooLong(str(error), key, value)
    if isinstance(error, FramingError):
        for key in sorted(box):
            if not 0 < len(key) <= MAX_KEY:
                return amp.TooLong(True, True, key, None)
    return error


class Streams:
    """
    The attribute C{streams} of a protocol or locator.

    Its value is made when first needed, as there may be no C{__init__} that is called.
    It is a non-data descriptor, so that an attribute C{streams} of a subclass wins, and
    only hides it.
    """

    def __init__(self, attribute: str, make: Callable[[Any], Any]) -> None:
        """
        @param attribute: The name of the attribute that keeps the value.

        @param make: Makes the value, for an instance.
        """
        self._attribute = attribute
        self._make = make

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        found = instance.__dict__.get(self._attribute)
        if found is None:
            found = instance.__dict__[self._attribute] = self._make(instance)
        return found


def connectionOf(protocol: object) -> Any:
    """
    @return: The L{StreamConnection} of a protocol or locator, also where a subclass
        hides it; L{None} if it has none.
    """
    cls: Any = type(protocol)
    found = _streamsOf(cls)
    return None if found is None else found.__get__(protocol)


# The answers to all calls of these two are soon known.
@lru_cache(maxsize=256)
def _streamsOf(cls: type) -> Streams | None:
    for base in cls.__mro__:
        found = base.__dict__.get("streams")
        if isinstance(found, Streams):
            return found
    return None


def streamKeys(declared: list[tuple[bytes, amp.Argument]]) -> list[bytes]:
    """
    @param declared: The arguments or the response of a command.

    @return: The keys by which it announces streams.
    """
    return [name for name, kind in declared if getattr(kind, "announcesStream", False)]


class StreamBox(amp.AmpBox):
    """
    A box that arrived on a connection with streams.

    AMP hands an argument the locator of its responder, which need not be the
    connection; but it hands it the box, too.

    @ivar connection: Where the streams that it announces come in.

    @ivar accepted: The streams that its arguments have asked for.
    """

    __slots__ = ("accepted", "connection")

    def __init__(self, connection: Any, values: dict[bytes, bytes]) -> None:
        # C{amp.AmpBox} looks for keys that are text; those that were read are bytes.
        dict.__init__(self, values)
        self.connection = connection
        self.accepted: list[Any] = []

    def copy(self) -> StreamBox:
        """
        A copy, for arguments to take their keys out of.  A stream that is accepted
        from either is listed in both.
        """
        box = StreamBox(self.connection, self)
        box.accepted = self.accepted
        return box

    def callEnded(self, error: StreamError | None) -> None:
        """
        The call that this box began has been answered.

        @param error: Why it failed, or L{None}.
        """
        for stream in self.accepted:
            stream.callEnded(error)


@lru_cache(maxsize=1024)
def argumentKey(name: bytes) -> str:
    """@return: The name by which Python knows the argument of a key."""
    key: str = amp._wireNameToPythonIdentifier(name)
    return key
