# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Numbers of bytes as people write them.
"""

from __future__ import annotations

import re

__all__ = ["parseSize"]

_SIZE = re.compile(r"(\d{1,18})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)


def parseSize(text: str) -> int:
    """
    Read a number of bytes: C{"4096"}, C{"256M"}, C{"16G"}.

    @param text: Digits, and perhaps one of K, M, G and T: 1024, and its second
        to fourth power.

    @raise ValueError: It is something else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is not a size: write a number of bytes, such as 4096 or 256M"
        )
    digits, unit = match.groups()
    return int(digits) << (10 * " KMGT".index(unit.upper() or " "))
