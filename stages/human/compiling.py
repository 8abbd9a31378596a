"""numba, which compiles the loops that draw people, or the error that says how to install it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.extras import install_command


def import_njit(whose: str) -> Callable[..., Any]:
    """Return numba's `njit`; ImportError that says what needs it and what installs it.

    Args:
        whose: what needs it, a plural: "walkers".
    """
    try:
        from numba import njit
    except ImportError as error:
        raise ImportError(
            f"{whose} need the extra 'synth' ({error}): {install_command('synth')}"
        ) from error
    return njit
