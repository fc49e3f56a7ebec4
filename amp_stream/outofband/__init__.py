# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Streams whose bytes travel over HTTP, which AMP sets up and authorises.

The AMP connection has everything of such a stream but the bytes: its announcement,
its end with the digest, and whatever stops it.  So both ends agree on its outcome by
the rules of every other stream, whatever becomes of the HTTP connection.
"""

__all__: list[str] = []
