# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Tells C{twistd} of the file service."""

from twisted.application.service import ServiceMaker

ampStream = ServiceMaker(
    "AMP file service",
    "amp_stream.files._tap",
    "A file service over AMP, with values of any size.",
    "amp-stream",
)
