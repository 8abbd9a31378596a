"""The embed stage: from windows to vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from stages.embed.streaming import StreamingEmbedder

MB = 1 << 20


class EmbedStage(StageBase):
    """Makes a vector of each window.

    In: `Windows`. Out: exactly one `Embeddings` each, with the same stamp; visible and ended tracks
    are passed on.
    Keeps: the network; for networks that pool over time, of each track the features that its next
    windows need again, `cache_mb` in all (`streaming.StreamingEmbedder`).
    Costs: 0.05 ms a window with gei; 0.42 GMAC a new frame with smplgait, and one head a window.
    The windows of a message are run together; those of several messages only in a live run, so that
    a replay gives the same vectors whatever the timing.
    """

    def __init__(self, config: Config, load: Callable[[Config], Embedder] = load_embedder) -> None:
        self._config = config
        self._load = load
        self._embedder: Embedder | None = None
        self._stream: StreamingEmbedder | None = None
        self.batch_limit = config.batch_messages
        self.batch_wait_s = config.batch_wait_ms / 1000
        self._description: Mapping[str, Any] = {}
        self._left_out: Counter[str] = Counter()
        self._embedded = 0

    def setup(self) -> None:
        """Load the network.

        Raises:
            WeightsError: there are no weights, or they do not fit the network or the windows.
            ConfigError: the device is not there.
        """
        embedder = self._load(self._config)
        if embedder.silhouette_hw not in (None, (WINDOW_HEIGHT, WINDOW_WIDTH)):
            raise WeightsError(
                f"these weights read silhouettes of {embedder.silhouette_hw}, windows hold "
                f"{(WINDOW_HEIGHT, WINDOW_WIDTH)} (height, width)",
                hint="Larger silhouettes are for the embed command; here give 64x44 weights.",
            )
        self._embedder = embedder
        self._stream = _streaming(embedder, self._config.cache_mb * MB)

    def process(self, message: Windows) -> Iterable[Embeddings]:
        """Return the vectors of the message's windows."""
        return self.process_batch([message])[0]

    def process_batch(self, messages: Sequence[Windows]) -> list[tuple[Embeddings]]:
        """Return the vectors of several messages' windows, which are run together."""
        assert self._embedder is not None, "setup() comes before process()"
        tracked = [
            (message.stamp.source_id, window)
            for message in messages
            for window in message.windows
            if not self._unfit(window)
        ]
        vectors = iter(self._vectors(tracked))
        chosen = {id(window) for _, window in tracked}
        answers = []
        for message in messages:
            windows = [window for window in message.windows if id(window) in chosen]
            made = [
                embedding_of(window, vector, self._embedder)
                for window, vector in ((window, next(vectors)) for window in windows)
                if self._is_finite(vector)
            ]
            self._embedded += len(made)
            answers.append((_answer(message, tuple(made)),))
            self._forget(message)
        return answers

    def end(self, source_id: str) -> Iterable[Embeddings]:
        """Let go of a source's tracks."""
        if self._stream is not None:
            self._stream.forget_source(source_id)
        return ()

    def _vectors(self, tracked: Sequence[tuple[str, Window]]) -> list[np.ndarray]:
        """Return the vectors of windows, given with their sources."""
        assert self._embedder is not None
        if self._stream is None:
            return self._embedder.embed([window for _, window in tracked]) if tracked else []
        return self._stream.embed(
            [((source_id, window.track_id), window) for source_id, window in tracked]
        )

    def _forget(self, message: Windows) -> None:
        if self._stream is not None:
            for track_id in message.ended_tracks:
                self._stream.forget((message.stamp.source_id, track_id))

    def skip(self, message: Windows) -> Iterable[Embeddings]:
        """Answer a message that could not be handled, without vectors."""
        self._left_out["skipped_message"] += len(message.windows)
        return (_answer(message, ()),)

    def report(self) -> Mapping[str, Any]:
        """Return the network's description, vectors made and windows left out by reason."""
        return {
            **self._describe(),
            "embeddings": self._embedded,
            "left_out": dict(sorted(self._left_out.items())),
        }

    def snapshot(self) -> Any:
        """The tracks' features, and the counts."""
        kept = None if self._stream is None else self._stream.snapshot()
        return kept, self._embedded, self._left_out

    def restore(self, state: Any) -> None:
        """Go on with the tracks of a snapshot."""
        kept, self._embedded, self._left_out = state
        if self._stream is not None and kept is not None:
            self._stream.restore(kept)

    def close(self) -> None:
        """Let go of the network and of what is kept of tracks; the report can still be asked."""
        self._description = self._describe()
        self._embedder = self._stream = None

    def _describe(self) -> Mapping[str, Any]:
        speaker = self._stream or self._embedder
        return self._description if speaker is None else speaker.describe()

    def _unfit(self, window: Window) -> bool:
        assert self._embedder is not None
        reason = unfit_reason(window, self._embedder.reads)
        if reason:
            self._left_out[reason] += 1
        return bool(reason)

    def _is_finite(self, vector: np.ndarray) -> bool:
        finite = bool(np.isfinite(vector).all())
        if not finite:
            self._left_out["vector_not_finite"] += 1
        return finite


def unfit_reason(window: Window, reads: tuple[str, ...]) -> str:
    """Return why a network cannot make anything of a window, "" if it can."""
    if "silhouettes" in reads and not window.silhouettes.any():
        return "silhouettes_empty"
    if "theta" in reads and not np.isfinite(window.theta).all():
        return "theta_not_finite"
    if "keypoints" in reads:
        if not np.isfinite(window.keypoints_px).all():
            return "keypoints_not_finite"
        if not (window.keypoints_px[..., 2] > 0).any():
            return "keypoints_unseen"
    return ""


def _streaming(embedder: Embedder, cache_bytes: int) -> StreamingEmbedder | None:
    """Return an embedder that keeps features, None for a network to which that does not apply."""
    if embedder.name == "gei" or not cache_bytes:
        return None  # nothing of torch is imported for it
    from stages.embed.embedder import NetworkEmbedder
    from stages.embed.streaming import StreamingEmbedder

    if not isinstance(embedder, NetworkEmbedder) or not embedder.facts.pools:
        return None
    return StreamingEmbedder(embedder, cache_bytes)


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
