# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The rules of the protocol, and nothing else.

The one law of this room: no reactor, no Deferred, no transport, no clock.  A
module in here imports the standard library, C{attrs}, its neighbours and
L{amp_stream.errors}; time, where a rule needs it, comes in as an argument.
C{tests/test_sansio_law.py} reads the imports and holds the room to it.
"""
