"""What can go wrong, as one small tree.

GaitError                 every error we raise on purpose; printed as one block, no traceback
  UsageError              exit 2: the command line or the configuration is wrong
    ConfigError           a key, a value or a file of the configuration
    OutputExistsError     an output folder that already holds a run
  InputError              exit 1: something we were given cannot be used
    SourceError           a video, camera or folder that cannot be opened or read
    WeightsError          a network's weights or a body file
    GalleryError          a gallery that is missing, locked, damaged or of another version
      GalleryConflictError  a name or id that is already taken, or not there
    CalibrationError      a calibration that is missing, damaged or of other weights
  MessageError            a message that does not decode or breaks its own rules
  FrameError              one frame cannot be handled: counted, marked, passed over
  DivergedError           exit 1: a training whose loss is no number any more
  ResourceError           exit 1: memory, disk or descriptors ran out
  StageFailedError        exit 1: a stage died; carries stage, source, frame and traceback
"""

from __future__ import annotations

from pipeline.credentials import without_credentials


class GaitError(Exception):
    """Base of every error raised on purpose. `hint` says what the reader can do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        # What went wrong is often told with the address of a camera, which may hold a password.
        self.message = without_credentials(message)
        self.hint = without_credentials(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(GaitError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A key, a value or a file of the configuration is wrong."""


class OutputExistsError(UsageError):
    """The output folder already holds a run and `--overwrite` was not given."""


class InputError(GaitError):
    """Something the user gave cannot be used."""


class SourceError(InputError):
    """A video, camera or folder of images cannot be opened or read."""


class WeightsError(InputError):
    """A network's weights or a body file is missing, damaged or of another layout."""


class GalleryError(InputError):
    """A gallery is missing, locked, damaged or of another version."""


class GalleryConflictError(GalleryError):
    """A name or id is already taken, or is not in the gallery."""


class CalibrationError(InputError):
    """A calibration is missing, damaged, of other weights, or rests on too little."""


class MessageError(GaitError):
    """A message does not decode, is too large, or breaks its own rules."""


class FrameError(GaitError):
    """One frame cannot be handled. The runner counts it and goes on with the next."""


class DivergedError(GaitError):
    """A training's loss or gradient is not finite."""


class ResourceError(GaitError):
    """Memory, disk or file descriptors ran out."""


class StageFailedError(GaitError):
    """A stage died.

    Attributes:
        stage: name of the stage.
        where: source and frame it was working on, or "" outside of a frame.
        trace: the traceback as text, "" if the process left none.
    """

    def __init__(
        self, stage: str, reason: str, *, where: str = "", trace: str = "", exit_code: int = 1
    ) -> None:
        place = f" at {where}" if where else ""
        super().__init__(f"stage {stage} failed{place}: {reason}")
        self.stage = stage
        self.where = where
        self.trace = without_credentials(trace)
        self.exit_code = exit_code
