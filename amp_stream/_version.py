# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""The version, in the one place that has it."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
