# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["machine", "versions"]

_PACKAGES = (
    *("amp_stream", "Twisted", "pyOpenSSL", "cryptography"),
    *("grpcio", "foolscap", "treq", "zope.interface", "attrs"),
)


def _found(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return "unknown"
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(values, "unknown")


def machine() -> dict[str, str]:
    """@return: The machine."""
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    memory = _found("/proc/meminfo", "MemTotal").split()[0]
    return {
        "processor": _found("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory) / 2**20:.0f} GiB" if memory.isdigit() else memory,
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "TCP congestion control": congestion.read_text().strip()
        if congestion.exists()
        else "unknown",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def versions() -> dict[str, str]:
    """@return: The software."""
    found = {"Python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
