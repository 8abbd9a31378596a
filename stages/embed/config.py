"""Which network makes the vectors, from which weights, on what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

NetworkName = Literal["gei", "smplgait"]


class Config(BaseModel):
    """How windows become vectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkName = Field(
        "gei", description="gei: mean silhouette, needs no weights; smplgait: needs weights"
    )
    weights: Path | None = Field(None, description="the network's weights, .safetensors")
    runtime: Literal["auto", "torch"] = Field("auto", description="what runs the network")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N"
    )
    threads: int = Field(
        0, ge=0, le=1024, description="processor threads of the network, 0 leaves it to torch"
    )
    use_smpl: bool = Field(True, description="let smplgait read the bodies, not only silhouettes")

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.network == "gei" and self.weights is not None:
            raise ValueError("gei takes no weights: leave weights out or choose another network")
        return self
