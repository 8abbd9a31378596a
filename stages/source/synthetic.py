"""A scene of people who do not exist, as if it were a recording or a camera (extra `synth`)."""

from __future__ import annotations

from pipeline.clock import NS_PER_S
from pipeline.errors import SourceError
from pipeline.extras import install_command
from pipeline.stage import EndOfSource
from stages.source.reader import Facts, Picture, Position


class SyntheticReader:
    """Renders one camera of a scene, frame by frame. Costs about 10 ms a person a frame at 960x540.

    Args:
        address: what follows `synthetic:`, such as `people=4,cameras=2,camera=1,seed=3`.
        start_s, end_s: part of the scene.
        after: go on with the picture after this one.

    Raises:
        ConfigError: the address has an unknown key or a value out of range.
        SourceError: nothing lies between start and end, or the extra `synth` is missing.
    """

    def __init__(
        self,
        address: str,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        after: Position | None = None,
    ) -> None:
        # Only who asks for a scene needs what it is made with.
        try:
            from stages.human.scenes.drawing import draw_scene
            from stages.human.scenes.settings import parse_settings

            settings, self._camera = parse_settings(address)
            self._scene = draw_scene(settings)
            first, _ = self._scene.frame(self._camera, 0)
        except ImportError as error:
            raise SourceError(
                f"a synthetic source needs the extra 'synth' ({error})",
                hint=install_command("synth"),
            ) from error
        self.decoded, self.damaged = after.decoded if after is not None else 0, 0
        count, fps = self._scene.frame_count, self._scene.fps
        last = count if end_s is None else min(count, round(end_s * fps))
        begin = round(start_s * fps)
        left = last - begin
        if after is not None:
            begin = round(after.time_ns / NS_PER_S * fps) + 1
        self._left = iter(range(begin, last))
        if left <= 0:
            raise SourceError(
                f"the synthetic scene is {count / fps:g} s long: nothing from second {start_s:g}",
                hint="seconds=N makes it longer",
            )
        height, width = first.shape[:2]
        self.facts = Facts((width, height), fps, left)

    def read(self) -> Picture:
        """Return the next picture."""
        index = next(self._left, None)
        if index is None:
            raise EndOfSource
        pixels, _ = self._scene.frame(self._camera, index)
        self.decoded += 1
        return Picture(pixels, round(index / self._scene.fps * NS_PER_S))

    def close(self) -> None:
        """Nothing is held."""
