"""The C++ core of marey: ring, wake-ups, bead kernels, frame synthesis."""

from marey._native._core import *  # noqa: F403
from marey._native._core import __file__ as CORE_FILE  # noqa: F401, N812

__all__ = [name for name in dir() if not name.startswith("_")]
