# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Writes the files in C{tests/vectors}; see C{docs/vectors.md}.

    python tests/makevectors.py

Nothing of the package is imported here: the bytes are put together by what the
documentation says about the wire, so that the package can be wrong about them.
"""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from struct import pack
from typing import Any

FULL = 65_535
# The length of this package's chunks before it has measured the link.
CHUNK = 65_280
WINDOW = 262_144

Box = dict[str, Any]


def octets(value: Any) -> bytes:
    """@param value: Text, a number or bytes."""
    return value if isinstance(value, bytes) else str(value).encode("ascii")


def string(data: bytes) -> bytes:
    """Write a length and its bytes."""
    return pack("!H", len(data)) + data


def value1(data: bytes) -> bytes:
    """Write a value in version 1."""
    return string(data)


def value2(data: bytes) -> bytes:
    """Write a value in version 2."""
    pieces = b""
    while len(data) >= FULL:
        pieces += string(data[:FULL])
        data = data[FULL:]
    return pieces + string(data)


VALUE = {1: value1, 2: value2}


def wire(box: Box, version: Any) -> bytes:
    """Write a box, its keys in order."""
    items = sorted((octets(key), octets(value)) for key, value in box.items())
    value = VALUE[version]
    return b"".join(string(key) + value(data) for key, data in items) + b"\0\0"


def parts(data: bytes) -> list[Any]:
    """Describe bytes: long runs of one byte by a rule, the others in hexadecimal."""
    described: list[Any] = []
    plain = b""
    for byte, run in groupby(data):
        count = len(list(run))
        if count < 32:
            plain += bytes([byte]) * count
            continue
        if plain:
            described.append(plain.hex())
            plain = b""
        described.append({"repeat": f"{byte:02x}", "count": count})
    return described + ([plain.hex()] if plain or not described else [])


def meaning(value: Any) -> Any:
    """Describe a value: as text if it is some, otherwise as its bytes."""
    data = octets(value)
    if len(data) < 100 and all(32 <= byte < 127 for byte in data):
        return data.decode("ascii")
    return {"bytes": parts(data)}


def described(box: Box) -> Box:
    """Describe a box."""
    return {key: meaning(value) for key, value in sorted(box.items())}


def boxes() -> Any:
    """Boxes and their bytes."""
    request = {"_ask": "1", "_command": "Store", "name": "x"}
    cases = [
        ("one key", {"_command": "Ping"}, (1, 2)),
        ("several keys, which are written in their order", request, (1, 2)),
        ("an empty value", {"_command": "Ping", "value": ""}, (1, 2)),
        ("bytes that are no text", {"_command": "A", "v": b"\0\xff\x80"}, (1, 2)),
        ("a key of 255 bytes", {"_command": "A", "k" * 255: "v"}, (1, 2)),
    ]
    for size in (0, 1, FULL - 1, FULL, FULL + 1, 2 * FULL, 2 * FULL + 1):
        box = {**request, "body": b"x" * size}
        versions = (1, 2) if size <= FULL else (2,)
        cases.append((f"a value of {size} bytes", box, versions))
    name = "a long value in front of another key"
    for tail in (0, 1, 300):
        box = {"_command": "A", "a": b"x" * (FULL + tail), "b": "y"}
        cases.append((f"{name}, {tail} bytes after a full piece", box, (2,)))
    return {
        "boxes": [
            {
                "name": name,
                "version": version,
                "box": described(box),
                "bytes": parts(wire(box, version)),
            }
            for name, box, versions in cases
            for version in versions
        ],
        "unwritable": [
            {
                "name": "a value that version 1 cannot carry",
                "version": 1,
                "box": described({"_command": "A", "v": b"x" * (FULL + 1)}),
                "error": "AMP_OVERSIZE",
            },
            *(
                {
                    "name": f"a key of {size} bytes",
                    "version": version,
                    "box": described({"_command": "A", "k" * size: "v"}),
                    "error": "AMP_KEY_TOO_LONG",
                }
                for size in (0, 256)
                for version in (1, 2)
            ),
        ],
        "unreadable": [
            {
                "name": name,
                "version": version,
                "maxBoxSize": size,
                "maxBoxKeys": keys,
                "bytes": parts(data),
                "error": error,
            }
            for version in (1, 2)
            for name, size, keys, data, error in [
                ("no key is so long", 1000, 16, b"\1\0", "AMP_KEY_TOO_LONG"),
                ("an empty box", 1000, 16, b"\0\0", "AMP_FRAMING"),
                ("the box is too long", 100, 16, b"\0\1a\0\x64", "AMP_FRAMING"),
                (
                    "the box has too many keys",
                    1000,
                    16,
                    b"".join(string(b"k%d" % n) + string(b"") for n in range(16))
                    + b"\0\1",
                    "AMP_FRAMING",
                ),
            ]
        ],
    }


def bigStrings() -> Any:
    """Values over several keys."""
    a, b, c = b"a" * FULL, b"b" * FULL, b"c"
    written = [
        ("empty", b"", {"v": b""}),
        ("short", b"abc", {"v": b"abc"}),
        ("one full piece", a, {"v": a}),
        ("two pieces", a + c, {"v": a, "v.2": c}),
        ("two full pieces", a + b, {"v": a, "v.2": b}),
        ("three pieces", a + b + c, {"v": a, "v.2": b, "v.3": c}),
    ]
    read = [
        ("numbered from 0", a + b + c, {"v.0": a, "v.1": b, "v.2": c}),
        ("numbered from 0, one piece", b"abc", {"v.0": b"abc"}),
        ("pieces that are not full", b"abc", {"v": b"a", "v.2": b"b", "v.3": b"c"}),
        ("eleven pieces", b"0123456789-", elevenPieces()),
        ("a key that only looks alike", b"abc", {"v": b"abc", "v.x": b"", "v2": b""}),
    ]
    errors = [
        ("no piece at all", {"w": b"abc"}, 1000, "BIG_VALUE_GAP"),
        ("a gap", {"v": a, "v.3": c}, 1_000_000, "BIG_VALUE_GAP"),
        ("a gap, from 0", {"v.0": a, "v.2": c}, 1_000_000, "BIG_VALUE_GAP"),
        ("no first piece", {"v.2": b"b", "v.3": c}, 1000, "BIG_VALUE_GAP"),
        ("both numberings", {"v": b"a", "v.0": b"b"}, 1000, "BIG_VALUE_GAP"),
        (
            "both numberings, longer",
            {"v": a, "v.1": b, "v.2": c},
            10**6,
            "BIG_VALUE_GAP",
        ),
        ("a number with a zero", {"v": b"a", "v.02": b"b"}, 1000, "BIG_VALUE_GAP"),
        ("too long", {"v": a, "v.2": c}, FULL, "BIG_VALUE_TOO_LONG"),
    ]
    return {
        "argument": "v",
        "written": [case(name, value, box) for name, value, box in written],
        "read": [case(name, value, box) for name, value, box in read],
        "unreadable": [
            {"name": name, "maxSize": size, "box": described(box), "error": error}
            for name, box, size, error in errors
        ],
        "unwritable": [
            {
                "name": "too long",
                "maxSize": 2,
                "value": "abc",
                "others": {},
                "error": "BIG_VALUE_TOO_LONG",
            },
            {
                "name": "another argument has a key that a long value needs",
                "maxSize": 1000,
                "value": "abc",
                "others": {"v.2": "x"},
                "error": "STREAM_USAGE",
            },
        ],
        "text": [
            {
                "name": "a character can be divided between two pieces",
                "text": {"before": {"repeat": "a", "count": FULL - 1}, "then": "é"},
                "box": described({"v": b"a" * (FULL - 1) + b"\xc3", "v.2": b"\xa9"}),
            }
        ],
    }


def elevenPieces() -> Box:
    """Make a run of keys whose order is not that of their names."""
    pieces = {"v": b"0", **{f"v.{n}": b"%d" % (n - 1) for n in range(2, 11)}}
    return {**pieces, "v.11": b"-"}


def case(name: str, value: bytes, box: Box) -> Any:
    """Describe a value and its keys."""
    return {"name": name, "value": meaning(value), "box": described(box)}


class Conversation:
    """Boxes that two sides exchange."""

    def __init__(self, name: str, *, mode: Any = 1, **settings: Any) -> None:
        """
        @param mode: What the side under test is set to: C{"auto"} or 1.

        @param settings: What else it is set to, and what its application has.
        """
        self.name = name
        self.mode = mode
        self.settings = settings
        self.steps: list[Any] = []
        self.versions = {"peer": 1, "self": 1}

    def say(self, who: str, box: Box, free: tuple[str, ...] = ()) -> None:
        """
        Add a box.

        @param free: The keys whose values another implementation may choose.
        """
        step = {
            "from": who,
            "version": self.versions[who],
            "box": described(box),
            "bytes": parts(wire(box, self.versions[who])),
        }
        self.steps.append({**step, "free": list(free)} if free else step)
        if box.get("_command") == "stream.Version":
            self.versions[who] = box["version"]

    def peer(self, **box: Any) -> None:
        """Add a box that the side under test gets."""
        self.say("peer", {key.replace("__", "."): v for key, v in box.items()})

    def own(self, *free: str, **box: Any) -> None:
        """Add a box that the side under test sends."""
        self.say("self", {key.replace("__", "."): v for key, v in box.items()}, free)

    def do(self, **what: Any) -> None:
        """Add something that the application does."""
        self.steps.append({"do": what})

    def data(self) -> Any:
        """@return: The conversation, for JSON."""
        return {
            "name": self.name,
            "version": self.mode,
            **self.settings,
            "steps": self.steps,
        }


TEXT = "_error_description"


def streams() -> Any:
    """Conversations about streams."""
    digest = sha256(b"hello").digest()
    chunk = {"_command": "stream.Data", "id": 7}

    one = Conversation("a stream in a request: with _ask, without, with the digest")
    one.peer(_ask=1, _command="Store", name="x", body=7, body__size=5)
    one.peer(**chunk, _ask=2, offset=0, data="he", sha256="")
    one.own("maximum", _answer=2, maximum=1_048_578)
    one.peer(**chunk, offset=2, data="l")
    one.peer(**chunk, _ask=3, offset=3, data="lo", fin="True", sha256=digest)
    one.own(_answer=1, size=5)
    one.own("maximum", _answer=3, maximum=1_048_579)
    one.do(stored={"x": "hello"})

    two = Conversation("chunks in another order, and one twice")
    two.peer(_ask=1, _command="Store", name="x", body=7)
    two.peer(**chunk, offset=2, data="llo", fin="True")
    two.peer(**chunk, offset=0, data="hel")
    two.own(_answer=1, size=5)
    two.peer(**chunk, offset=0, data="hel")
    two.do(stored={"x": "hello"})

    three = Conversation("the receiver opens its window")
    three.peer(_ask=1, _command="Store", name="x", body=7)
    for n in range(3):
        three.peer(**chunk, offset=n * FULL, data=b"x" * FULL)
    three.own("maximum", _command="stream.MaxData", id=7, maximum=1_245_181)

    four = Conversation(
        "a stream in an answer: the sender keeps to its window",
        stored={"x": {"bytes": [{"repeat": "78", "count": 400_000}]}},
    )
    sent = {"_command": "stream.Data", "id": 0}
    four.peer(_ask=1, _command="Fetch", name="x")
    four.own(_answer=1, body=0, body__size=400_000)
    for n in range(4):
        four.own(**sent, _ask=f"s{n + 1}", offset=n * CHUNK, data=b"x" * CHUNK)
    rest = b"x" * (WINDOW - 4 * CHUNK)
    four.own(**sent, _ask="s5", offset=4 * CHUNK, data=rest)
    four.peer(_answer="s1", maximum=WINDOW)
    four.peer(_command="stream.MaxData", id=0, maximum=400_000)
    four.own(**sent, offset=WINDOW, data=b"x" * CHUNK)
    four.own(**sent, offset=WINDOW + CHUNK, data=b"x" * CHUNK)
    end = WINDOW + 2 * CHUNK
    last = b"x" * (400_000 - end)
    four.own(**sent, _ask="s6", offset=end, data=last, fin="True")
    for n in range(2, 7):
        four.peer(_answer=f"s{n}")

    five = Conversation("the sender gives up")
    five.peer(_ask=1, _command="Store", name="x", body=7)
    five.peer(**chunk, offset=0, data="he")
    five.peer(_command="stream.Reset", id=7, code="STREAM_SOURCE_FAILED", final_size=2)
    five.own(TEXT, _error=1, _error_code="STREAM_SOURCE_FAILED", **{TEXT: "gone"})

    six = Conversation("the receiver gives up")
    six.peer(_ask=1, _command="Store", name="x", body=7)
    six.peer(**chunk, offset=0, data="he")
    six.do(abort="x")
    six.own(_command="stream.StopSending", id=7, code="STREAM_ABORTED")
    six.own(TEXT, _error=1, _error_code="STREAM_ABORTED", **{TEXT: "gone"})
    six.peer(_command="stream.Reset", id=7, code="STREAM_ABORTED", final_size=2)

    stored = "hello" * 13_056
    seven = Conversation("the receiver stops this side", stored={"x": stored})
    seven.peer(_ask=1, _command="Fetch", name="x")
    size = len(stored)
    seven.own(_answer=1, body=0, body__size=size)
    seven.own(**sent, _ask="s1", offset=0, data=stored, fin="True")
    seven.peer(_command="stream.StopSending", id=0, code="STREAM_REFUSED")
    seven.own(_command="stream.Reset", id=0, code="STREAM_REFUSED", final_size=size)

    eight = Conversation("a value travels inside its box", stored={"x": "hello"})
    eight.peer(_ask=1, _command="Store", name="y", body__data="abc")
    eight.own(_answer=1, size=3)
    eight.peer(_ask=2, _command="Fetch", name="x")
    eight.own(_answer=2, body__data="hello")

    nine = Conversation("the digest of one chunk needs no announcement")
    nine.peer(_ask=1, _command="Store", name="x", body=7)
    nine.peer(**chunk, offset=0, data="hello", fin="True", sha256=digest)
    nine.own(_answer=1, size=5)

    ten = Conversation("a sender that waits for each answer announces no digest")
    ten.peer(_ask=1, _command="Store", name="x", body=7)
    ten.peer(**chunk, _ask=2, offset=0, data="he")
    ten.own("maximum", _answer=2, maximum=1_048_578)
    ten.peer(**chunk, _ask=3, offset=2, data="llo", fin="True", sha256=digest)
    ten.own(_answer=1, size=5)
    ten.own("maximum", _answer=3, maximum=1_048_578)

    eleven = Conversation("a chunk of a stream that has ended; its id is used again")
    eleven.peer(_ask=1, _command="Store", name="x", body=7)
    eleven.peer(**chunk, offset=0, data="hello", fin="True")
    eleven.own(_answer=1, size=5)
    eleven.peer(**chunk, offset=0, data="hello")
    eleven.peer(**chunk, _ask=2, offset=0, data="hello")
    eleven.own(_answer=2)
    eleven.peer(_ask=3, _command="Store", name="y", body=7)
    reused = {"_error_code": "STREAM_REUSED", TEXT: "no"}
    eleven.own(TEXT, _error=3, **reused)

    twelve = Conversation("a reset before bytes that have arrived")
    twelve.peer(_ask=1, _command="Store", name="x", body=7)
    twelve.peer(**chunk, offset=0, data="he")
    twelve.peer(_command="stream.Reset", id=7, code="MINE", final_size=1)
    twelve.own(TEXT, _error=1, _error_code="STREAM_FINAL_SIZE", **{TEXT: "no"})

    conversations = [one, two, three, four, five, six, seven, eight]
    conversations += [nine, ten, eleven, twelve]
    for name, code, chunks in [
        (
            "two bytes for one offset",
            "STREAM_CONFLICT",
            [{"offset": 1, "data": "el"}, {"offset": 2, "data": "x"}],
        ),
        (
            "the end moves",
            "STREAM_FINAL_SIZE",
            [{"offset": 1, "data": "e", "fin": "True"}, {"offset": 2, "data": "x"}],
        ),
        (
            "bytes beyond the window",
            "STREAM_FLOW_CONTROL",
            [{"offset": 1_048_576, "data": "x"}],
        ),
        (
            "another digest",
            "STREAM_DIGEST",
            [{"offset": 0, "data": "hallo", "fin": "True", "sha256": digest}],
        ),
        (
            "a digest that was not announced",
            "STREAM_INVALID_CHUNK",
            [
                {"offset": 0, "data": "hel"},
                {"offset": 3, "data": "lo", "fin": "True", "sha256": digest},
            ],
        ),
        (
            "an announced digest does not come",
            "STREAM_DIGEST",
            [
                {"offset": 0, "data": "hel", "sha256": ""},
                {"offset": 3, "data": "lo", "fin": "True"},
            ],
        ),
        ("no offset", "STREAM_INVALID_CHUNK", [{"data": "x"}]),
        ("no data", "STREAM_INVALID_CHUNK", [{"offset": 0}]),
    ]:
        wrong = Conversation(f"refused: {name}")
        wrong.peer(_ask=1, _command="Store", name="x", body=7)
        for given in chunks[:-1]:
            wrong.peer(**chunk, **given)
        wrong.peer(**chunk, _ask=2, **chunks[-1])
        for tag in (1, 2):
            wrong.own(TEXT, _error=tag, _error_code=code, **{TEXT: "no"})
        conversations.append(wrong)
    return [each.data() for each in conversations]


def negotiations() -> Any:
    """Conversations about versions and large boxes."""
    settings = {"_command": "stream.Settings", "versions": "1 2", "box": 16_777_216}

    one = Conversation(
        "both read version 2, and large boxes go in fragments", mode="auto"
    )
    one.own("box", **settings, _ask="s1")
    one.peer(**settings, _ask="a1")
    one.own(_command="stream.Version", version=2)
    one.own(_answer="a1")
    one.peer(_answer="s1")
    one.peer(_command="stream.Version", version=2)
    one.peer(_ask=1, _command="Fit", value=b"x" * FULL)
    one.own(_answer=1, value=b"x" * FULL)
    request = {"_ask": 2, "_command": "Echo", "value": b"x" * 2 * FULL}
    data = wire(request, 2)
    size = len(data)
    chunk = {"_command": "stream.Data", "id": 0}
    one.peer(_command="stream.Box", id=0, size=size)
    one.peer(**chunk, offset=0, data=data[:FULL])
    one.peer(**chunk, offset=FULL, data=data[FULL : 2 * FULL])
    rest = data[2 * FULL :]
    one.peer(**chunk, _ask="a2", offset=2 * FULL, data=rest, fin="True")
    data = wire({"_answer": 2, "value": b"x" * 2 * FULL}, 2)
    one.own(_command="stream.Box", id=0, size=len(data))
    one.own(**chunk, offset=0, data=data[:CHUNK])
    one.own("maximum", _answer="a2", maximum=1_048_576 + size)
    one.own(**chunk, offset=CHUNK, data=data[CHUNK : 2 * CHUNK])
    rest = data[2 * CHUNK :]
    one.own(**chunk, _ask="s2", offset=2 * CHUNK, data=rest, fin="True")
    one.peer(_answer="s2", maximum=WINDOW)

    two = Conversation("the peer knows nothing of this", mode="auto")
    two.own("box", **settings, _ask="s1")
    two.peer(_error="s1", _error_code="UNHANDLED", _error_description="?")
    two.peer(_ask=1, _command="Fit", value=b"x" * FULL)
    two.own(_answer=1, value=b"x" * FULL)

    three = Conversation("the peer reads version 1 only", mode="auto")
    three.own("box", **settings, _ask="s1")
    three.peer(_command="stream.Settings", versions="1", box=1_000_000, _ask="a1")
    three.own(_answer="a1")
    three.peer(_answer="s1")
    three.peer(_ask=1, _command="Fit", value=b"x" * 1000)
    three.own(_answer=1, value=b"x" * 1000)

    four = Conversation("what makes no sense is refused", mode="auto")
    four.own("box", **settings, _ask="s1")
    refused = {"_error_code": "STREAM_INVALID_CHUNK", TEXT: "no"}
    four.peer(_command="stream.Settings", versions="two", box=1, _ask="a1")
    four.own(TEXT, _error="a1", **refused)
    four.peer(_command="stream.Settings", versions="1", _ask="a2")
    four.own(TEXT, _error="a2", **refused)
    four.peer(_command="stream.Box", id=1, size=17_000_000, _ask="a3")
    four.own(_command="stream.StopSending", id=1, code="AMP_BOX_TOO_LONG", _ask="s2")
    four.own(TEXT, _error="a3", _error_code="AMP_BOX_TOO_LONG", **{TEXT: "no"})
    return [each.data() for each in (one, two, three, four)]


def main() -> None:
    """Write the files."""
    folder = Path(__file__).with_name("vectors")
    for name, data in (
        ("boxes", boxes()),
        ("bigstring", bigStrings()),
        ("streams", streams()),
        ("negotiation", negotiations()),
    ):
        text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
