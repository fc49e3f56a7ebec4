# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream}, for trial and pytest alike."""

from hypothesis import settings

# How long an example takes depends on the machine more than on the code.
settings.register_profile("amp_stream", settings(deadline=None))
settings.load_profile("amp_stream")
