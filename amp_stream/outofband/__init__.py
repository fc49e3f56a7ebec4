# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Values whose bytes travel over HTTP, while AMP sets the transfer up and authorises it.

Declare an argument as L{amp_stream.OutOfBand}, and give one of the two ends an
L{OutOfBandServer}.  An L{OutOfBandClient} says which servers the other end talks to.
"""

from amp_stream.outofband._client import OutOfBandClient
from amp_stream.outofband._server import OutOfBandServer
from amp_stream.outofband._tickets import Ticket
from amp_stream.outofband._transfer import Offer

__all__ = ["Offer", "OutOfBandClient", "OutOfBandServer", "Ticket"]
