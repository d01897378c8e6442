"""Models of all families of methods behind one interface, ``base.Network``."""

from __future__ import annotations

from typing import Any

from fcp.inference.networks.base import AnyNetwork
from fcp.inference.networks.fcp import FcpNetwork
from fcp.inference.networks.free import FreeNetwork
from fcp.inference.networks.trained import TrainedNetwork
from fcp.method.fcp.model import FCP
from fcp.models.free import LoadedFree


def network_of(loaded: Any) -> AnyNetwork:  # noqa: ANN401  (a model of any family)
    """Return the network of a loaded model: an FCP, a method without training, a compared one."""
    if isinstance(loaded, FCP):
        return FcpNetwork(loaded)
    if isinstance(loaded, LoadedFree):
        return FreeNetwork(loaded)
    return TrainedNetwork(
        loaded.model,
        method=loaded.method,
        options=loaded.options,
        image_size=loaded.image_size,
    )
