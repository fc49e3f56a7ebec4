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

A stream has a sending part at one side and a receiving part at the other. Their states
are those of RFC 9000, sections 3.1 and 3.2, with two differences:

- There is no state for an acknowledged reset. The connection below is reliable, so a
  reset that was sent will arrive.
- `STOPPED` is a receiving part that gave up. It ends at once, and the connection
  remembers its number to discard the bytes that are still on their way.

`docs/make_states.py` draws the diagrams from the tables in
`amp_stream/_sansio/stream.py`, and a test checks that they are up to date. The diagrams
leave out an input that does not change the state.
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
