# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tests for L{amp_stream}, for trial and pytest alike."""

from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("amp_stream", settings(deadline=None))
settings.load_profile("amp_stream")
