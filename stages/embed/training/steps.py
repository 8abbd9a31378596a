"""One training step: forward, losses, backward, and the weights' move."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.errors import ConfigError, DivergedError, ResourceError
from stages.embed.data.interface import TrainingBatch
from stages.embed.networks.interface import SILHOUETTES, GaitNetwork
from stages.embed.training.config import Losses, Optimiser, Phase, TrainConfig
from stages.embed.training.losses import class_terms, contrastive_terms, triplet_terms
from stages.embed.training.moving_average import MovingAverage
from stages.embed.training.precision import DTYPES, MEMORY_FORMATS, resolve, resolve_memory
from stages.embed.training.preparation import names_of_frozen, step_seed
from stages.embed.training.ranks import Ranks
from stages.embed.training.schedule import learning_rate, position_of

log = logging.getLogger(__name__)

# float16: so many steps in a row whose gradients overflow are no search for the right scale.
MAX_SKIPPED = 100
ADAM_SECOND_MOMENT = 0.999


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """What a step found.

    Attributes:
        numbers: by column of the curve.
        frames: in the batch, of all ranks.
        pictures: what the network saw, by name float [m,k,h,w], 0..1.
    """

    numbers: dict[str, float]
    frames: int
    pictures: dict[str, Tensor]


class Stepper:
    """A network, its optimiser and what else moves with each step.

    Keeps nothing that `state` does not tell: dropout is drawn from seed, rank and step. Every rank
    has the same weights, running statistics and optimiser after each step.
    """

    def __init__(self, config: TrainConfig, network: GaitNetwork, ranks: Ranks) -> None:
        self.config = config
        self.ranks = ranks
        self.precision = resolve(config.precision, ranks.device)
        if config.sync_batch_norm:
            if ranks.device.type != "cuda":
                raise ConfigError(
                    "sync_batch_norm works on CUDA only, this runs on a processor",
                    hint="Leave it out: each process then normalises over its own share.",
                )
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place, the network itself stays
        self.memory_format = resolve_memory(
            config.memory_format, self.precision, ranks.device, network
        )
        network = network.to(memory_format=MEMORY_FORMATS[self.memory_format])
        self.network = network.to(ranks.device)
        log.info("computing in %s, pictures %s", self.precision, self.memory_format)
        ranks.align(self.network)
        self.average = (
            None
            if config.average_decay is None
            else MovingAverage(self.network, config.average_decay)
        )
        self._scaler = torch.amp.GradScaler(ranks.device.type, enabled=self.precision == "float16")
        self._optimiser: torch.optim.Optimizer | None = None
        self._moving: list[nn.Parameter] = []
        self._statistics: list[Tensor] = []
        self._phase = -1
        self._skipped = 0

    def step(self, number: int, batch: TrainingBatch) -> StepResult:
        """Do step `number`, counted from 0.

        Raises:
            DivergedError: a loss or gradient is not finite; the weights are as they were before.
            ResourceError: the device's memory is full.
        """
        position = position_of(self.config.phases, number)
        if position.index != self._phase:
            self._enter(position.index)
        rate = learning_rate(position.phase, position.step)
        optimiser = self._optimiser
        assert optimiser is not None
        for group in optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(step_seed(self.config.seed, self.ranks.rank, number))
        optimiser.zero_grad(set_to_none=True)
        try:
            out, frames = self._forward(batch)
            loss, terms = self._losses(out["training_feat"], position.phase.losses)
            self._scaler.scale(loss).backward()
        except torch.cuda.OutOfMemoryError as error:
            raise ResourceError(
                f"{self.ranks.device} has no memory left for a batch of {len(batch.labels)} "
                f"sequences and {frames_of(batch)} frames",
                hint="Lower sampler.subjects, sampler.sequences or sampler.frames, or use more "
                "processes.",
            ) from error
        numbers = self._move(optimiser, terms)
        numbers["lr"] = rate
        return StepResult(numbers, frames * self.ranks.world, out["visual_summary"])

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: tensors and plain data."""
        return {
            "network": dict(self.network.state_dict()),
            "optimiser": None if self._optimiser is None else self._optimiser.state_dict(),
            "phase": self._phase,
            "scaler": self._scaler.state_dict(),
            "skipped": self._skipped,
            "average": None if self.average is None else self.average.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            KeyError, ValueError, RuntimeError: the state does not fit.
        """
        self.network.load_state_dict(state["network"])
        if state["phase"] >= 0:
            self._enter(state["phase"])
            assert self._optimiser is not None
            self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self._skipped = state["skipped"]
        if self.average is not None:
            self.average.restore(state["average"])

    def _enter(self, index: int) -> None:
        """Begin a phase: freeze what it freezes, with a fresh optimiser."""
        phase = self.config.phases[index]
        frozen = names_of_frozen(self.network, phase)
        self.network.train()
        for name, module in self.network.named_modules():
            if name in frozen:
                module.eval()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self._moving = [p for p in self.network.parameters() if p.requires_grad]
        if not self._moving:
            raise ConfigError(f"phase {phase.name} freezes the whole network")
        norms = [m for m in self.network.modules() if isinstance(m, _BatchNorm) and m.training]
        self._statistics = [b for m in norms for b in m.buffers() if b.is_floating_point()]
        self._optimiser = make_optimiser(phase, self._moving)
        self._phase = index

    def _forward(self, batch: TrainingBatch) -> tuple[dict[str, Any], int]:
        device = self.ranks.device
        tensors = {
            name: self._placed(torch.from_numpy(array)) for name, array in batch.inputs.items()
        }
        if SILHOUETTES in tensors:
            # At once in the type of the first convolution, where 0 to 255 are exact.
            tensors[SILHOUETTES] = tensors[SILHOUETTES].to(DTYPES[self.precision]) / 255.0
        inputs = [tensors[name] for name in self.network.reads]
        labels = self._placed(torch.from_numpy(batch.labels))
        mixed = self.precision != "float32"
        with torch.autocast(device.type, DTYPES[self.precision], enabled=mixed):
            out = self.network(*inputs, labels=labels, lengths=batch.lengths)
        return out, frames_of(batch)

    def _placed(self, tensor: Tensor) -> Tensor:
        if self.ranks.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.ranks.device, non_blocking=True)

    def _losses(self, out: dict[str, Any], wanted: Losses) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum to minimise and what the curve shows."""
        terms: dict[str, Tensor] = {}
        total: Tensor | float = 0.0
        if wanted.triplet is not None:
            found = out["triplet"]
            embeddings = self.ranks.gather(found["embeddings"])
            labels = self.ranks.gather(found["labels"])
            triplet = triplet_terms(embeddings, labels, wanted.triplet.margin)
            total = total + wanted.triplet.weight * triplet.loss
            terms["triplet_loss"] = triplet.loss
            terms["nonzero_share"] = triplet.nonzero_share
            terms["positive_distance"] = triplet.positive_distance
            terms["negative_distance"] = triplet.negative_distance
        if wanted.contrastive is not None:
            found = out["triplet"]
            contrastive = contrastive_terms(
                self.ranks.gather(found["embeddings"]),
                self.ranks.gather(found["labels"]),
                wanted.contrastive.temperature,
                wanted.contrastive.whole,
            )
            total = total + wanted.contrastive.weight * contrastive.loss
            terms["contrastive_loss"] = contrastive.loss
            terms["nearest_right"] = contrastive.nearest_right
        if wanted.softmax is not None:
            found = out["softmax"]
            classes = class_terms(
                found["logits"],
                found["labels"],
                scale=wanted.softmax.scale,
                label_smoothing=wanted.softmax.label_smoothing,
            )
            total = total + wanted.softmax.weight * classes.loss
            terms["softmax_loss"] = classes.loss
            terms["accuracy"] = classes.accuracy
        assert isinstance(total, Tensor)
        terms["loss"] = total
        return total, terms

    def _move(self, optimiser: torch.optim.Optimizer, terms: dict[str, Tensor]) -> dict[str, float]:
        """Average over the ranks, shorten the gradient, and move the weights if all is finite."""
        values = torch.stack([term.detach().float() for term in terms.values()])
        gradients = [p.grad for p in self._moving if p.grad is not None]
        self.ranks.average([*gradients, *self._statistics, values])
        self._scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(self._moving, self.config.clip_norm or math.inf)
        # The one place where a step waits for the device.
        *found, length = torch.cat([values, norm.detach().reshape(1)]).tolist()
        numbers = dict(zip(terms, found, strict=True)) | {"grad_norm": length}
        self._check(numbers)
        self._scaler.step(optimiser)
        if self.precision == "float16":
            numbers["loss_scale"] = self._scaler.get_scale()
            numbers["skipped"] = float(not math.isfinite(length))
        self._scaler.update()
        if math.isfinite(length) and self.average is not None:
            self.average.update(self.network)
        return numbers

    def _check(self, numbers: dict[str, float]) -> None:
        """Raise DivergedError for what float16's loss scaling cannot put right."""
        bad = [name for name, number in numbers.items() if not math.isfinite(number)]
        self._skipped = self._skipped + 1 if bad == ["grad_norm"] else 0
        if not bad:
            return
        if bad == ["grad_norm"] and self.precision == "float16":
            if self._skipped < MAX_SKIPPED:
                return
            raise DivergedError(f"{MAX_SKIPPED} steps in a row overflowed in float16")
        raise DivergedError(
            ", ".join(f"{name} is {numbers[name]}" for name in bad) + f" in {self.precision}"
        )


def make_optimiser(phase: Phase, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return a phase's optimiser; its rate is set before every step."""
    told: Optimiser = phase.optimiser
    if told.kind == "adam":
        return torch.optim.AdamW(
            parameters,
            lr=told.lr,
            betas=(told.momentum, ADAM_SECOND_MOMENT),
            weight_decay=told.weight_decay,
        )
    return torch.optim.SGD(
        parameters, lr=told.lr, momentum=told.momentum, weight_decay=told.weight_decay
    )


def frames_of(batch: TrainingBatch) -> int:
    """Return how many frames a rank's batch has."""
    first = next(iter(batch.inputs.values()))
    return int(first.shape[0] * first.shape[1])
