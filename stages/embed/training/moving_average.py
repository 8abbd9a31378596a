"""An exponential moving average of a network's weights, which often tells people apart better."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """Averages parameters; buffers, such as running statistics, are averages already and copied.

    Keeps one float32 copy of the network's state on its device.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._updates = 0
        self._state = {name: t.detach().clone() for name, t in network.state_dict().items()}
        self._averaged = {name for name, _ in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step. The first steps count for more than `decay` says."""
        self._updates += 1
        decay = min(self.decay, self._updates / (self._updates + 10))
        for name, tensor in network.state_dict().items():
            if name in self._averaged:
                self._state[name].lerp_(tensor, 1 - decay)
            else:
                self._state[name].copy_(tensor)

    def weights(self) -> Mapping[str, Tensor]:
        """Return the averaged state, by the network's own names."""
        return self._state

    def state(self) -> dict[str, object]:
        """Return what a checkpoint keeps."""
        return {"updates": self._updates, "weights": dict(self._state)}

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on from what `state` returned."""
        weights, updates = state["weights"], state["updates"]
        assert isinstance(weights, Mapping) and isinstance(updates, int)
        self._updates = updates
        for name, tensor in self._state.items():
            tensor.copy_(weights[name])
