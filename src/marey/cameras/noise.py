"""A simulated camera that sees nothing but noise."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from marey._native import fill_lookup, fill_rows, fill_uniform
from marey.cameras.pacer import next_exposure
from marey.cameras.simulated import DTYPES, Shape, SimulatedCamera, stamp
from marey.node import Setting, Stamp
from marey.stream import Spec

_LINE = 64
"""Pixels in a cache line, at most."""


class Noise(SimulatedCamera):
    """Noise: uniform, Gaussian, or Gaussian cut from a pool (the fastest).

    `uniform` has all values of the type alike (float: 0 to 1). `gaussian` has `mean` and `sigma`,
    every pixel independent of all others, of 65,536 different values at most. `cached` copies each
    row from a random place in a pool of 262,144 Gaussian pixels, at the speed of memory.
    """

    shape: Shape = Setting((512, 512), unit="px", apply="reopen", description="height, width")
    dtype: Literal["u8", "u16", "f32"] = Setting(
        "u8", apply="reopen", description="type of a pixel"
    )
    color: bool = Setting(False, apply="reopen", description="three channels, RGB; u8 only")
    mode: Literal["uniform", "gaussian", "cached"] = Setting(
        "cached", apply="reopen", description="distribution of the pixels"
    )
    mean: float = Setting(
        100.0, ge=0, le=65535, unit="counts", apply="reopen", description="of Gaussian pixels"
    )
    sigma: float = Setting(
        10.0,
        ge=0,
        le=65535,
        unit="counts",
        apply="reopen",
        description="standard deviation of Gaussian pixels",
    )

    _table: np.ndarray[Any, Any]
    _pool: np.ndarray[Any, Any]

    @model_validator(mode="after")
    def _eight_bit_color(self) -> Noise:
        if self.color and self.dtype != "u8":
            raise ValueError(f"dtype: found '{self.dtype}', expected 'u8' where color is true")
        return self

    def open(self) -> None:
        """Tabulate the distribution."""
        super().open()
        if self.mode == "uniform":
            return
        self._table = quantiles(self.mean, self.sigma, DTYPES[self.dtype])
        if self.mode == "cached":
            # Rows are cut at multiples of a cache line (at most _LINE pixels), so that a column
            # sees every _LINE-th entry only: each such set has the whole distribution.
            strata = np.tile(self._table[8::16], (_LINE, 1))
            pool = np.random.default_rng(self.seed).permuted(strata, axis=1).T.ravel()
            self._pool = np.resize(pool, pool.size + self.shape[1] * (3 if self.color else 1))

    def describe(self) -> Spec:
        """Frames of `shape`, with three channels where `color` is set."""
        return self.spec_of(self.shape, self.dtype, self.color, counter_bits=64)

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """Fill the next frame."""
        exposure = next_exposure(self.clock)
        if exposure is None:
            return None
        if self.mode == "uniform":
            fill_uniform(out, self.seed, exposure.frame)
        elif self.mode == "gaussian":
            fill_lookup(out, self._table, self.seed, exposure.frame)
        else:
            fill_rows(out.reshape(len(out), -1), self._pool, self.seed, exposure.frame)
        return stamp(exposure)


def quantiles(mean: float, sigma: float, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The 65,536 middle quantiles of a normal distribution, rounded to and clipped to `dtype`."""
    half = np.array([NormalDist().inv_cdf((k + 0.5) / 65536) for k in range(32768)])
    values = mean + sigma * np.concatenate([half, -half[::-1]])
    if dtype.kind == "u":
        values = np.clip(np.rint(values), 0, np.iinfo(dtype).max)
    return values.astype(dtype)
