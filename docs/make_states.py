# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Write docs/states.md from the state tables.

    python docs/make_states.py
"""

from __future__ import annotations

from pathlib import Path

from amp_stream._sansio.stream import RECEIVING, SENDING

INTRODUCTION = """\
# The states of a stream

The two halves are those of RFC 9000, sections 3.1 and 3.2. There is no state for an
acknowledged reset: the connection below is reliable, so a reset that has been sent
will arrive. `STOPPED` is a receiver that gave up. It has ended at once: bytes that are
still under way are thrown away, because the connection remembers that it has.

This page is made from the tables in `amp_stream/_sansio/stream.py` by
`docs/make_states.py`, and a test checks that it is up to date. An input that
leaves the state as it is is not drawn.
"""


def diagram(title, table):
    """Draw one table."""
    lines = [f"\n## {title}\n", "```mermaid", "stateDiagram-v2"]
    states = list(type(next(iter(table.values()))))
    lines.append(f"    [*] --> {states[0].name}")
    for (state, event), after in table.items():
        if after is not state:
            lines.append(f"    {state.name} --> {after.name}: {event.name}")
    for state in states:
        if all(one is not state for one, _ in table):
            lines.append(f"    {state.name} --> [*]")
    return "\n".join([*lines, "```\n"])


def page():
    """The whole page."""
    return INTRODUCTION + diagram("Sending", SENDING) + diagram("Receiving", RECEIVING)


if __name__ == "__main__":
    Path(__file__).with_name("states.md").write_text(page())
