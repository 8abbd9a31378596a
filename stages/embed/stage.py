"""The embed stage: from windows to vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from pipeline.errors import WeightsError
from pipeline.messages import (
    WINDOW_HEIGHT,
    WINDOW_WIDTH,
    Embedding,
    Embeddings,
    Window,
    Windows,
)
from pipeline.stage import StageBase
from stages.embed.config import Config
from stages.embed.interface import Embedder
from stages.embed.loading import load_embedder


class EmbedStage(StageBase):
    """Makes a vector of each window.

    In: `Windows`. Out: exactly one `Embeddings` each, with the same stamp; visible and ended tracks
    are passed on.
    Keeps: the network; nothing of any track.
    Costs: 0.05 ms a window with gei; 12.6 GMAC a window of 30 frames with smplgait.
    The windows of one message are run together, never those of several, so that a replay gives the
    same vectors whatever the timing.
    """

    def __init__(self, config: Config, load: Callable[[Config], Embedder] = load_embedder) -> None:
        self._config = config
        self._load = load
        self._embedder: Embedder | None = None
        self._left_out: Counter[str] = Counter()
        self._embedded = 0

    def setup(self) -> None:
        """Load the network.

        Raises:
            WeightsError: there are no weights, or they do not fit the network or the windows.
            ConfigError: the device is not there.
        """
        embedder = self._load(self._config)
        if embedder.silhouette_hw != (WINDOW_HEIGHT, WINDOW_WIDTH):
            raise WeightsError(
                f"these weights read silhouettes of {embedder.silhouette_hw}, windows hold "
                f"{(WINDOW_HEIGHT, WINDOW_WIDTH)} (height, width)",
                hint="Larger silhouettes are for the embed command; here give 64x44 weights.",
            )
        self._embedder = embedder

    def process(self, message: Windows) -> Iterable[Embeddings]:
        """Return the vectors of the message's windows."""
        assert self._embedder is not None, "setup() comes before process()"
        windows = [window for window in message.windows if not self._unfit(window)]
        vectors = self._embedder.embed(windows) if windows else []
        made = [
            embedding_of(window, vector, self._embedder)
            for window, vector in zip(windows, vectors, strict=True)
            if self._is_finite(vector)
        ]
        self._embedded += len(made)
        return (_answer(message, tuple(made)),)

    def skip(self, message: Windows) -> Iterable[Embeddings]:
        """Answer a message that could not be handled, without vectors."""
        self._left_out["skipped_message"] += len(message.windows)
        return (_answer(message, ()),)

    def report(self) -> Mapping[str, Any]:
        """Return the network's description, vectors made and windows left out by reason."""
        description = self._embedder.describe() if self._embedder is not None else {}
        return {
            **description,
            "embeddings": self._embedded,
            "left_out": dict(sorted(self._left_out.items())),
        }

    def close(self) -> None:
        """Let go of the network."""
        self._embedder = None

    def _unfit(self, window: Window) -> bool:
        reason = ""
        if not np.isfinite(window.theta).all():
            reason = "theta_not_finite"
        elif not window.silhouettes.any():
            reason = "silhouettes_empty"
        if reason:
            self._left_out[reason] += 1
        return bool(reason)

    def _is_finite(self, vector: np.ndarray) -> bool:
        finite = bool(np.isfinite(vector).all())
        if not finite:
            self._left_out["vector_not_finite"] += 1
        return finite


def embedding_of(window: Window, vector: np.ndarray, embedder: Embedder) -> Embedding:
    """Return a window's vector, float32 [c,p], with where it comes from."""
    return Embedding(
        track_id=window.track_id,
        vector=vector,
        network=embedder.name,
        weights_hash=embedder.weights_hash,
        start_ns=int(window.times_ns[0]),
        end_ns=int(window.times_ns[-1]),
        frames=len(window.silhouettes),
        quality=window.quality,
    )


def _answer(message: Windows, embeddings: tuple[Embedding, ...]) -> Embeddings:
    return Embeddings(
        stamp=message.stamp,
        embeddings=embeddings,
        visible_tracks=message.visible_tracks,
        ended_tracks=message.ended_tracks,
    )


def build(config: Config) -> EmbedStage:
    """Return the stage."""
    return EmbedStage(config)
