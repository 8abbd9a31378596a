"""One training at a time in a folder, however the one before ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError
from stages.embed.training.run_lock import NAME, only_training_in

HOLD = """
import sys, time
from pathlib import Path
from stages.embed.training.run_lock import only_training_in
with only_training_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_smoke_the_folder_is_made_and_left_as_it_was(tmp_path: Path) -> None:
    for _ in range(2):
        with only_training_in(tmp_path / "a" / "run"):
            assert (tmp_path / "a" / "run" / NAME).read_text() == str(os.getpid())
        assert not list((tmp_path / "a" / "run").iterdir())


def test_exception_two_in_one_process(tmp_path: Path) -> None:
    with only_training_in(tmp_path):
        said = f"another training, process {os.getpid()}"
        with pytest.raises(InputError, match=said), only_training_in(tmp_path):
            pytest.fail("both have it")
        with only_training_in(tmp_path / "other"):
            pass
        assert (tmp_path / NAME).exists(), "the one that failed took nothing away"


def test_exception_a_killed_one_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        said = f"another training, process {holder.pid}"
        with pytest.raises(InputError, match=said), only_training_in(tmp_path):
            pytest.fail("both have it")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert (tmp_path / NAME).exists()
    with only_training_in(tmp_path):
        assert (tmp_path / NAME).read_text() == str(os.getpid())


def test_exception_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    missing = tmp_path / "file" / "run"
    with pytest.raises(InputError, match="cannot write"), only_training_in(missing):
        pytest.fail("there is no such folder")
