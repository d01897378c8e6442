"""Models of all families of methods behind one interface, ``base.Network``."""

from __future__ import annotations

from fcp.inference.networks.base import AnyNetwork
from fcp.inference.networks.fcp import FcpNetwork
from fcp.method.fcp.model import FCP


def network_of(loaded: FCP) -> AnyNetwork:
    """Return the network of a loaded model."""
    return FcpNetwork(loaded)
