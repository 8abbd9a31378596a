"""A training's configuration: one YAML file, checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stages.embed.data.augmentation import AugmentationConfig
from stages.embed.data.sampling import SamplerConfig

Precision = Literal["auto", "float32", "bfloat16", "float16"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]


class Block(BaseModel):
    """What all blocks have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Block):
    """Which sequences are trained on and which are left for evaluation."""

    path: Path | None = Field(
        None, description="folder in OpenGait's layout, or packed by `pack`; --data says it too"
    )
    partition: Path | None = Field(
        None,
        description="JSON with TRAIN_SET, TEST_SET and, for Gait3D, PROBE_SET: ids of subjects",
    )
    test_share: float = Field(
        0.2,
        ge=0,
        le=0.9,
        description="without a partition or test_path: share of the subjects kept for evaluation; "
        "0: none",
    )
    split_seed: int = Field(
        0, ge=0, le=2**32 - 1, description="without a partition: draws the subjects kept"
    )
    test_path: Path | None = Field(
        None,
        description="evaluate on all subjects of this folder or file; `path` is then trained on "
        "whole. For data packed as two splits",
    )

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.partition is not None and self.test_path is not None:
            raise ValueError("give partition or test_path, not both")
        return self


class NetworkConfig(Block):
    """Which network is trained."""

    name: Literal["smplgait", "gaitgln", "resgcn", "smplrows", "joined"] = Field(
        description="the network"
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="the network's own settings; class_num is filled in from the data",
    )


class Optimiser(Block):
    """What moves the weights."""

    kind: Literal["sgd", "adam"] = Field("sgd", description="adam decays weights as AdamW does")
    lr: float = Field(gt=0, le=10, description="learning rate, per step")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd; adam's first moment likewise")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="per unit of learning rate")


class Schedule(Block):
    """How the learning rate changes over a phase. Steps count from the phase's start."""

    kind: Literal["milestones", "cosine"] = Field(
        "milestones",
        description="milestones: times gamma at each; cosine: half a cosine down to `final`",
    )
    milestones: tuple[int, ...] = Field((), description="for milestones: at which steps")
    gamma: float = Field(0.1, gt=0, le=1, description="for milestones: factor at each")
    final: float = Field(0.0, ge=0, le=1, description="for cosine: share of the rate at the end")
    warmup_steps: int = Field(0, ge=0, description="the rate grows over so many steps, steps")
    warmup_from: float = Field(0.01, gt=0, le=1, description="share of the rate at the first step")

    @field_validator("milestones")
    @classmethod
    def _in_order(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)) or any(step < 1 for step in milestones):
            raise ValueError("milestones must be above 0, each above the one before")
        return milestones


class TripletLoss(Block):
    """The metric loss on the embeddings, part by part."""

    margin: float = Field(0.2, gt=0, le=100, description="in the distance's own unit")
    weight: float = Field(1.0, gt=0, le=1000, description="factor in the sum of losses")


class ContrastiveLoss(Block):
    """The supervised contrastive loss on the embeddings' directions, part by part."""

    temperature: float = Field(
        0.12, ge=0.01, le=10, description="of the softmax; lower: harder negatives count more"
    )
    whole: float = Field(
        0.0, ge=0, le=1, description="share of the loss on the mean over the parts, 0..1"
    )
    weight: float = Field(1.0, gt=0, le=1000, description="factor in the sum of losses")


class SoftmaxLoss(Block):
    """The class loss on the logits, part by part."""

    scale: float = Field(16.0, gt=0, le=1000, description="factor on the logits")
    weight: float = Field(0.1, gt=0, le=1000, description="factor in the sum of losses")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target spread over all classes, 0..1"
    )


class Losses(Block):
    """What a phase minimises: the weighted sum of those that are there."""

    triplet: TripletLoss | None = Field(None, description="leave out for none")
    contrastive: ContrastiveLoss | None = Field(None, description="leave out for none")
    softmax: SoftmaxLoss | None = Field(None, description="leave out for none")

    @model_validator(mode="after")
    def _any(self) -> Losses:
        if self.triplet is None and self.contrastive is None and self.softmax is None:
            raise ValueError("a phase needs at least one of triplet, contrastive, softmax")
        return self


class Phase(Block):
    """A stretch of training with an optimiser and losses of its own."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$", description="letters, digits, _ and -")
    steps: int = Field(ge=1, le=10_000_000, description="how long, steps")
    optimiser: Optimiser
    schedule: Schedule = Schedule()
    losses: Losses
    frozen: tuple[str, ...] = Field(
        (),
        description="parts of the network that stay as they are, by the beginning of their names: "
        "their weights do not move, their batch norms keep their statistics",
    )

    @model_validator(mode="after")
    def _check(self) -> Phase:
        if self.schedule.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps {self.schedule.warmup_steps} must be below steps {self.steps}"
            )
        return self


class Evaluation(Block):
    """How often the network is tried on subjects it has not seen."""

    every: int = Field(5000, ge=0, description="between two evaluations, steps; 0: at the end only")
    share: float = Field(
        0.25, gt=0, le=1, description="of the test subjects, those looked at before the end, 0..1"
    )
    final: bool = Field(True, description="evaluate all test subjects at the end")


class Checkpoints(Block):
    """How much work a kill may cost."""

    every: int = Field(1000, ge=1, description="at the latest after so many steps, steps")
    every_s: float = Field(600.0, gt=0, description="and after so much time, seconds")
    keep: int = Field(3, ge=1, le=1000, description="newest ones that stay; 1 has no spare")


class TrainConfig(Block):
    """Everything that a training is told."""

    data: DataConfig = DataConfig()
    network: NetworkConfig
    init: Path | None = Field(None, description="weights to start from: .safetensors or .pt")
    init_classifier: Literal["same", "new"] = Field(
        "same",
        description="same: `init` must have as many classes as the data; new: its classifier is "
        "left out and drawn anew",
    )
    phases: tuple[Phase, ...] = Field(min_length=1, description="one after the other")
    sampler: SamplerConfig = SamplerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Precision = Field(
        "auto",
        description="of the forward pass; auto: bfloat16 on CUDA (float16 where the device has "
        "none), float32 on a processor; weights and losses are always float32",
    )
    memory_format: MemoryFormat = Field(
        "auto",
        description="how pictures lie in memory; auto: channels_last for networks with 2D "
        "convolutions on a processor, and in half precision on CUDA, where it is faster; weights "
        "files do not depend on it",
    )
    clip_norm: float | None = Field(
        None, gt=0, description="the gradient is shortened to this length; none: never"
    )
    average_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share kept a step of a moving average of the weights, which is then what is "
        "evaluated and saved; none: the weights themselves",
    )
    sync_batch_norm: bool = Field(
        False, description="batch norms see the whole batch, not a rank's share; CUDA only"
    )
    evaluation: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    log_every: int = Field(100, ge=1, description="steps that a row of the curve is the mean of")
    pictures_every: int = Field(
        1000, ge=0, description="between two rows of silhouettes in TensorBoard, steps; 0: none"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of weights, batches and dropout")
    workers: int = Field(2, ge=0, le=256, description="that read batches ahead; 0: none")
    threads: int = Field(0, ge=0, le=1024, description="processor threads; 0 leaves it to torch")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N"
    )
    deterministic: bool = Field(
        False, description="on CUDA too the same run gives the same numbers; slower there"
    )

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases need names of their own, got {names}")
        return self

    @property
    def has_classes(self) -> bool:
        """Whether any phase has a loss that needs classifiers."""
        return any(phase.losses.softmax is not None for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-safe data, defaults included."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return everything as the YAML that reads back as the same."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
