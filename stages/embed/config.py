"""Which network makes the vectors, from which weights, on what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

NetworkName = Literal["gei", "smplgait", "gaitgln", "resgcn", "smplrows", "joined"]
RuntimeName = Literal["auto", "torch", "onnx", "tensorrt"]
NETWORKS: tuple[str, ...] = get_args(NetworkName)
RUNTIMES: tuple[str, ...] = get_args(RuntimeName)


class Config(BaseModel):
    """How windows become vectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkName = Field(
        "joined",
        description="smplgait: silhouettes and bodies; gaitgln: silhouettes; resgcn: keypoints; "
        "smplrows: bodies; joined: what its members read; gei: mean silhouette, the baseline "
        "without weights",
    )
    weights: Path | None = Field(
        None,
        description="the network's weights: .safetensors, or OpenGait's .pt; none: those that "
        "come with the program",
    )
    height: Literal[64, 128] | None = Field(
        None, description="silhouettes' height, pixels, for a .pt that does not tell it"
    )
    runtime: RuntimeName = Field(
        "auto",
        description="what runs the network; auto takes the best that works here: tensorrt, torch "
        "on CUDA, onnx if the weights were exported, torch",
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N"
    )
    precision: Literal["auto", "float32", "float16"] = Field(
        "auto", description="auto: float16 on CUDA, float32 on a processor"
    )
    threads: int = Field(
        0, ge=0, le=1024, description="processor threads of the network, 0 leaves it to the runtime"
    )
    use_smpl: bool = Field(
        True, description="let networks that read silhouettes too read the bodies"
    )
    cache_mb: int = Field(
        1024,
        ge=0,
        le=1 << 20,
        description="memory for features of frames that later windows need again, MB; beyond it "
        "the tracks used longest ago are computed anew",
    )
    batch_messages: int = Field(
        8, ge=1, le=64, description="live: frames' windows that may run as one batch, frames"
    )
    batch_wait_ms: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="live: how long a window may wait for others to fill a batch, ms; pays with "
        "several cameras on a GPU",
    )

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.network == "gei" and self.weights is not None:
            raise ValueError("gei takes no weights: leave weights out or choose another network")
        return self
