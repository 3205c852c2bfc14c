"""A simulated magnetic-tweezers scene."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from marey._native import BeadScene
from marey.cameras.optics import Optics, RingTable, ring_table
from marey.cameras.pacer import next_exposure
from marey.cameras.scene import Walk, place
from marey.cameras.simulated import DTYPES, Shape, SimulatedCamera, stamp
from marey.node import Setting, Stamp
from marey.stream import Spec

TRUTH = np.dtype([("bead", "u4"), ("x", "f8"), ("y", "f8"), ("z", "f8")])
"""One row of the known truth."""

_UNIT_EXPOSURE = 0.001
"""Exposure at which `background` is what it says, s."""

_FOCUS = 10.0
"""Greatest focus offset, µm; rings are tabulated for all of them."""

Height = Annotated[float, Field(ge=0, le=20_000)]


class Beads(SimulatedCamera):
    """A simulated magnetic-tweezers scene: beads with diffraction rings, fixed and tethered.

    Fixed beads rest at z = 0. Tethered ones are held by springs at a mean height of their own and
    move by Brownian motion. `<name>.truth` carries one row for each bead and frame: the position
    with which it was drawn, x and y in px (the centre of the first pixel is 0), z in nm.
    """

    shape: Shape = Setting((1024, 1280), unit="px", apply="reopen", description="height, width")
    dtype: Literal["u8", "u16"] = Setting("u8", apply="reopen", description="type of a pixel")
    fixed: int = Setting(10, ge=0, le=5000, apply="reopen", description="beads stuck to the glass")
    tethered: int = Setting(90, ge=0, le=5000, apply="reopen", description="beads on tethers")
    beads: int | None = Setting(
        None,
        ge=0,
        le=5000,
        apply="reopen",
        description="beads in all: of these, at most `fixed` are fixed and the rest is tethered, "
        "whatever `tethered` says",
    )
    bead_px: int = Setting(
        64, ge=8, le=512, unit="px", apply="reopen", description="side of the square drawn for each"
    )
    nm_per_px: float = Setting(
        100.0, ge=10, le=2000, unit="nm", apply="reopen", description="side of a pixel"
    )
    radius: float = Setting(
        500.0, ge=50, le=5000, unit="nm", apply="reopen", description="radius of the beads"
    )
    stiffness: float = Setting(
        10.0, ge=0.01, le=1e6, unit="pN/µm", apply="reopen", description="of tethers along x and y"
    )
    stiffness_z: float = Setting(
        30.0, ge=0.01, le=1e6, unit="pN/µm", apply="reopen", description="of tethers along z"
    )
    tether: tuple[Height, Height] = Setting(
        (900.0, 1100.0),
        unit="nm",
        apply="reopen",
        description="least and greatest mean height of tethered beads",
    )
    focus: float = Setting(
        -3.0,
        ge=-_FOCUS,
        le=_FOCUS,
        unit="µm",
        description="height of the plane in focus; rings show where beads are above or below it",
    )
    gain: float = Setting(
        0.02, ge=0, le=16, description="counts for each photoelectron; 0: no shot noise"
    )
    exposure: float = Setting(
        0.001,
        gt=0,
        le=1,
        unit="s",
        description="exposure time: brightness is in proportion, and saturates; motion is not "
        "blurred by it",
    )
    background: float = Setting(
        0.4,
        ge=0,
        le=1,
        apply="reopen",
        description="background as a fraction of full scale, at an exposure of 1 ms",
    )
    wavelength: float = Setting(
        550.0,
        ge=200,
        le=2000,
        unit="nm",
        apply="reopen",
        advanced=True,
        description="of the light in vacuum",
    )
    na: float = Setting(
        1.3,
        ge=0.05,
        le=1.7,
        apply="reopen",
        advanced=True,
        description="numerical aperture of the objective",
    )
    n_bead: float = Setting(
        1.59, ge=1, le=3, apply="reopen", advanced=True, description="refractive index of the beads"
    )
    n_medium: float = Setting(
        1.33,
        ge=1,
        le=2,
        apply="reopen",
        advanced=True,
        description="refractive index around the beads",
    )

    _scene: BeadScene | None = None
    _table: RingTable
    _walk: Walk | None = None
    _rest: np.ndarray[Any, np.dtype[np.float64]]
    _positions: np.ndarray[Any, np.dtype[np.float64]]
    _truth: np.ndarray[Any, Any]

    @field_validator("tether")
    @classmethod
    def _ordered(cls, tether: tuple[float, float]) -> tuple[float, float]:
        if tether[0] > tether[1]:
            raise ValueError("expected the least height first, then the greatest")
        return tether

    @property
    def counts(self) -> tuple[int, int]:
        """Fixed and tethered beads of the scene, after `beads` has had its say."""
        if self.beads is None:
            return self.fixed, self.tethered
        fixed = min(self.fixed, self.beads)
        return fixed, self.beads - fixed

    def open(self) -> None:
        """Place the beads and tabulate their rings."""
        super().open()
        fixed, tethered = self.counts
        random = np.random.default_rng(self.seed)
        self._walk = Walk(
            tethered, (self.stiffness, self.stiffness_z), self.radius, self.nm_per_px, self.seed
        )
        self._rest = np.zeros((fixed + tethered, 3))
        self._rest[:, :2] = place(fixed + tethered, self.shape, self.bead_px, random)
        self._rest[fixed:, 2] = random.uniform(*self.tether, tethered)
        self._positions = self._rest.copy()
        self._truth = np.zeros(fixed + tethered, TRUTH)
        self._truth["bead"] = np.arange(fixed + tethered)

        optics = Optics(
            radius=self.radius,
            wavelength=self.wavelength,
            n_bead=self.n_bead,
            n_medium=self.n_medium,
            na=self.na,
            nm_per_px=self.nm_per_px,
        )
        away = 1000 * _FOCUS + 6 * float(self._walk.spread[2])
        self._table = ring_table(optics, self.bead_px, (-away, away + self.tether[1]))
        self._light()

    def _light(self) -> None:
        """Build the scene for the present exposure and gain."""
        table = self._table
        full_scale = float(np.iinfo(DTYPES[self.dtype]).max)
        background = min(1.0, self.background * self.exposure / _UNIT_EXPOSURE)
        self._scene = BeadScene(
            self.shape,
            self.bead_px,
            table.root,
            table.radial_step,
            table.first_z,
            table.z_step,
            background * full_scale,
            full_scale,
            self.seed,
        )
        self._scene.set_gain(self.gain)
        # Tiles are made when a bead first needs them: let that not fall into the first exposures.
        first = np.empty(self.shape, DTYPES[self.dtype])
        self._scene.draw(first, 0, self._positions, 1000 * self.focus)

    def describe(self) -> Spec:
        """Frames of `shape`; `meta` tells `nm_per_px`, `bead_px` and the beads' numbers."""
        fixed, tethered = self.counts
        return self.spec_of(
            self.shape,
            self.dtype,
            nm_per_px=self.nm_per_px,
            bead_px=self.bead_px,
            fixed=fixed,
            tethered=tethered,
            counter_bits=64,
        )

    def also(self) -> dict[str, Spec]:
        """`truth`: where each bead was drawn."""
        fixed, tethered = self.counts
        fields = {
            "bead": "number of the bead, fixed ones first",
            "x": "px, 0 at the centre of the first pixel",
            "y": "px, 0 at the centre of the first pixel",
            "z": "nm above a fixed bead",
        }
        meta = {"nm_per_px": self.nm_per_px, "fixed": fixed}
        rows = max(1, fixed + tethered)
        return {"truth": Spec((rows,), TRUTH, self.nominal_rate, fields=fields, meta=meta)}

    def changed(self, names: set[str]) -> None:
        """Take over `exposure` and `gain`; `focus` is read with each frame."""
        super().changed(names)
        if self._scene is None:
            return
        if "exposure" in names:
            self._light()
        elif "gain" in names:
            self._scene.set_gain(self.gain)

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """Draw the next frame and emit its truth."""
        exposure = next_exposure(self.clock)
        if exposure is None:
            return None
        assert self._scene is not None
        assert self._walk is not None
        self._walk.advance(exposure.frame, 1 / self.rate)
        moving = self._rest.shape[0] - self._walk.displacement.shape[0]
        np.add(self._rest[moving:], self._walk.displacement, out=self._positions[moving:])
        self._scene.draw(out, exposure.frame, self._positions, 1000 * self.focus)
        self._truth["x"], self._truth["y"], self._truth["z"] = self._positions.T
        if self._emit is not None:
            self.emit("truth", self._truth)
        return stamp(exposure)

    @property
    def truth(self) -> np.ndarray[Any, Any]:
        """Rows of `TRUTH` for the frame drawn last."""
        return self._truth.copy()

    def close(self) -> None:
        """Forget the scene."""
        super().close()
        self._scene = self._walk = None
