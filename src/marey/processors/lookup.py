"""Look-up tables: what a bead's radial profile looks like at known heights."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marey.errors import TableError

FORMAT = "marey look-up table"
VERSION = 1
LEAST_HEIGHTS = 4
"""Heights between two steps come from the cubic through four rows."""
LEAST_RADII = 8


@dataclass(frozen=True, eq=False)
class LookupTable:
    """Radial profiles of a bead at known heights.

    Attributes:
        z: heights (n_z,) in nm, ascending.
        profiles: mean intensity (n_z, n_r); column k is at the radius k * `radius_step`. Only
            their shape counts: comparison ignores gain and offset.
        radius_step: px between two radii.
        nm_per_px: scale of the pictures that it was made of; None if unknown.
        meta: anything else worth keeping, as JSON values (bead, date, objective ...).

    Raises:
        TableError: the numbers cannot be a table; the message says why.
    """

    z: NDArray[np.float64]
    profiles: NDArray[np.float32]
    radius_step: float = 1.0
    nm_per_px: float | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        z = np.array(self.z, dtype=np.float64)
        profiles = np.array(self.profiles, dtype=np.float32)
        _check(z, profiles, self.radius_step, self.nm_per_px)
        z.setflags(write=False)
        profiles.setflags(write=False)
        object.__setattr__(self, "z", z)
        object.__setattr__(self, "profiles", profiles)

    @classmethod
    def build(
        cls,
        z: ArrayLike,
        profiles: ArrayLike,
        *,
        smooth: float = 0.0,
        radius_step: float = 1.0,
        nm_per_px: float | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Self:
        """A table from any number of profiles at known heights, in any order.

        Profiles of the same height are averaged, those with NaN left out; then the table is
        smoothed along z.

        Args:
            z: height of each profile (n,), nm.
            profiles: (n, n_r).
            smooth: standard deviation of a Gaussian along z, in steps of the table; 0 for none.
            radius_step: px between two radii.
            nm_per_px: scale of the pictures.
            meta: anything else worth keeping.

        Raises:
            TableError: what is left is no table, e.g. a height without a valid profile.
        """
        heights, rows = np.asarray(z, dtype=float), np.asarray(profiles, dtype=float)
        if heights.ndim != 1 or rows.ndim != 2 or len(heights) != len(rows):
            raise TableError(
                f"profiles: found shapes {heights.shape} and {rows.shape}, "
                "expected one row for each height"
            )
        valid = np.isfinite(rows).all(axis=1)
        steps = np.unique(heights)
        table = np.empty((len(steps), rows.shape[1]))
        for row, height in zip(table, steps, strict=True):
            chosen = rows[valid & (heights == height)]
            if not len(chosen):
                raise TableError(f"profiles: there is no valid one at z = {height:g} nm")
            row[:] = chosen.mean(axis=0)
        smoothed = _smooth(table, smooth) if smooth > 0 else table
        return cls(steps, smoothed.astype(np.float32), radius_step, nm_per_px, meta or {})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as a NumPy archive (`.npz`), whole or not at all."""
        target = Path(path)
        facts = {
            "format": FORMAT,
            "version": VERSION,
            "radius_step": self.radius_step,
            "nm_per_px": self.nm_per_px,
            "meta": self.meta,
        }
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.savez(file, z=self.z, profiles=self.profiles, facts=np.array(json.dumps(facts)))
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise TableError(f"table '{target}': cannot be written ({error})") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a table: what `save` wrote, or a text table of MagScope (`.txt`).

        Raises:
            TableError: there is no such file, or it is no table; the message says why.
        """
        source = Path(path)
        try:
            return cls._read_text(source) if source.suffix == ".txt" else cls._read(source)
        except TableError as error:
            raise TableError(f"table '{source}': {error}") from error
        except FileNotFoundError as error:
            raise TableError(f"table '{source}': there is no such file") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise TableError(f"table '{source}': cannot be read ({error})") from error

    @classmethod
    def _read(cls, source: Path) -> Self:
        with source.open("rb") as whole, np.load(whole, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            if facts["format"] != FORMAT or facts["version"] != VERSION:
                raise TableError(
                    f"found '{facts['format']}' of version {facts['version']}, "
                    f"expected '{FORMAT}' of version {VERSION}"
                )
            return cls(
                file["z"],
                file["profiles"],
                float(facts["radius_step"]),
                facts["nm_per_px"],
                dict(facts["meta"]),
            )

    @classmethod
    def _read_text(cls, source: Path) -> Self:
        """MagScope's tables: numbers in rows; the first holds the heights in nm, each further one
        the profiles' values at one radius, 1 px apart (MagScope's user guide, "Z-LUT Text Files").

        Its sweeps may go downwards; such a table is turned round.
        """
        lines = (line.split("#")[0].split() for line in source.read_text().splitlines())
        rows = [[float(word) for word in words] for words in lines if words]
        if len({len(row) for row in rows}) != 1:
            raise TableError("found lines of differing or no length, expected a matrix of numbers")
        numbers = np.array(rows)
        z, profiles = numbers[0], numbers[1:].T
        if len(z) > 1 and z[0] > z[-1]:
            z, profiles = z[::-1], profiles[::-1]
        return cls(z, profiles.astype(np.float32), meta={"made_by": "MagScope"})

    @property
    def radius(self) -> float:
        """Greatest radius, px."""
        return float((self.profiles.shape[1] - 1) * self.radius_step)

    def __repr__(self) -> str:
        heights, radii = self.profiles.shape
        return (
            f"LookupTable({heights} heights from {self.z[0]:g} to {self.z[-1]:g} nm, "
            f"{radii} radii up to {self.radius:g} px)"
        )


def _check(
    z: NDArray[np.float64],
    profiles: NDArray[np.float32],
    radius_step: float,
    nm_per_px: float | None,
) -> None:
    """Refuse what cannot be a table, saying what was found and what would be right."""
    if z.ndim != 1 or profiles.ndim != 2 or len(z) != len(profiles):
        raise TableError(
            f"found z of shape {z.shape} and profiles of shape {profiles.shape}, "
            "expected (n_z,) and (n_z, n_r)"
        )
    if len(z) < LEAST_HEIGHTS:
        raise TableError(f"found {len(z)} heights, expected {LEAST_HEIGHTS} or more")
    if profiles.shape[1] < LEAST_RADII:
        raise TableError(f"found {profiles.shape[1]} radii, expected {LEAST_RADII} or more")
    if not np.isfinite(z).all():
        raise TableError("z: found NaN or infinity, expected heights in nm")
    bad = np.flatnonzero(~np.isfinite(profiles).all(axis=1))
    if len(bad):
        raise TableError(
            f"profiles: found NaN or infinity in {len(bad)} of {len(z)}, first at z = "
            f"{z[bad[0]]:g} nm"
        )
    falls = np.flatnonzero(np.diff(z) <= 0)
    if len(falls):
        at = falls[0]
        raise TableError(f"z: found {z[at + 1]:g} after {z[at]:g} nm, expected ascending heights")
    flat = np.flatnonzero(np.ptp(profiles, axis=1) == 0)
    if len(flat):
        raise TableError(f"profiles: found no contrast at z = {z[flat[0]]:g} nm")
    if not 0.75 <= radius_step <= 16:
        raise TableError(f"radius_step: found {radius_step} px, expected 0.75 to 16 px")
    if nm_per_px is not None and not (np.isfinite(nm_per_px) and nm_per_px > 0):
        raise TableError(f"nm_per_px: found {nm_per_px}, expected more than 0, or none")


def _smooth(table: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian along the first axis; at the ends the kernel is cut off and weighted anew."""
    steps = np.arange(len(table))
    kernel = np.exp(-((steps[:, None] - steps[None, :]) ** 2) / (2 * sigma**2))
    result: NDArray[np.float64] = kernel @ table / kernel.sum(axis=1, keepdims=True)
    return result
