"""Fixtures that several tests of the embed stage share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.walkers import write_dataset


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One processor thread, whatever commands set it to: sums then come in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six made-up people with two kinds of walks."""
    root = tmp_path_factory.mktemp("walkers")
    return write_dataset(root, subjects=6, kinds=("nm-01", "bg-01"), frames=8)
