"""Beads in three dimensions."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator

from marey.errors import ActionError, SettingError, TableError
from marey.node import Processor, Setting, action
from marey.processors.find import find_beads
from marey.processors.gray import full_scale, gray, require_frames
from marey.processors.group import Group, Limits, groups_of
from marey.processors.lookup import LEAST_HEIGHTS, LookupTable
from marey.processors.regions import LARGEST, SMALLEST, Regions, Roi
from marey.processors.status import Status
from marey.processors.sweep import FocusSweep
from marey.stream import Block, Frame, Spec

_LOOK_AGAIN = 1_000_000_000
"""Time between two searches for beads while there are none, ns of the frames' time."""
_SCALES_AGREE = 0.02
"""Relative difference of two scales (nm per px) that may come from rounding."""


class BeadTracker(Processor):
    """Beads in three dimensions: x, y and z of every bead in every frame.

    Regions of interest are found on the first frame, or given; they can be added, moved and
    removed while it runs. The centre comes from the centre of mass, then mirror symmetry, then a
    least-squares fit of the picture by its own rings; z from comparing the radial profile with a
    look-up table, which `calibrate` makes. A bead that is lost keeps its row: NaN and a status.
    """

    row: ClassVar[np.dtype[Any]] = np.dtype(
        [
            ("bead", "u4"),
            ("x", "f8"),
            ("y", "f8"),
            ("z", "f8"),
            ("quality", "f4"),
            ("status", "u1"),
        ]
    )

    rois: list[Roi] = Setting(
        default_factory=list, description="regions of interest; none: see `find_first`"
    )
    roi_size: int = Setting(
        64,
        ge=SMALLEST,
        le=LARGEST,
        unit="px",
        apply="reopen",
        description="side of a region; it should hold a bead with the rings that are to be used",
    )
    find_first: bool = Setting(True, description="find beads by itself while there are no regions")
    follow: bool = Setting(True, description="regions follow their beads")
    table: str = Setting(
        "", description="look-up table for z (.npz, or .txt of MagScope); none: z is NaN"
    )
    nm_per_px: float = Setting(
        0.0,
        ge=0,
        le=1e6,
        unit="nm",
        apply="start",
        description="side of a pixel in the sample; 0: as the camera tells",
    )
    min_quality: float = Setting(
        0.2,
        ge=0,
        le=1,
        advanced=True,
        description="least share of the variance in a region that rings explain; below, a bead "
        "counts as lost",
    )
    min_likeness: float = Setting(
        0.7,
        ge=-1,
        le=1,
        advanced=True,
        description="least correlation of a profile with the table; below, z is NaN",
    )
    saturation: float = Setting(
        0.0,
        ge=0,
        unit="gray levels",
        advanced=True,
        description="pixels of this value are saturated; 0: the greatest that the camera can give",
    )
    max_beads: int = Setting(
        1000, ge=1, le=20_000, apply="start", advanced=True, description="most regions at a time"
    )
    block: int = Setting(
        1, ge=1, le=1, unit="frames", apply="start", advanced=True, description="one by one"
    )

    _regions: Regions = PrivateAttr(default_factory=Regions)
    _groups: list[Group] | None = None
    _lookup: LookupTable | None = None
    _scale: float | None = None
    _full_scale: float = 0.0
    _look_after: int | None = None
    _seq: int | None = None
    _sweep: FocusSweep | None = None

    @field_validator("rois")
    @classmethod
    def _distinct(cls, rois: list[Roi]) -> list[Roi]:
        ids = [roi.id for roi in rois]
        if len(set(ids)) < len(ids):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            raise ValueError(f"each bead needs an id of its own; more than once: {twice}")
        return rois

    # ---------------------------------------------------------------- life

    def open(self) -> None:
        """Take the regions that are given and read the table."""
        self._lookup = LookupTable.load(self.table) if self.table else None
        self._declare()

    def describe(self, source: Spec) -> Spec:
        """One row for each bead, with units, and how a page can draw them.

        Raises:
            SettingError: the source has rows instead of frames.
            TableError: the table was made at another scale than the camera has.
        """
        require_frames(self, source)
        told = source.meta.get("nm_per_px")
        self._scale = self.nm_per_px or (float(told) if told else None)
        self._full_scale = full_scale(source)
        self._check_table(self._lookup)
        meta: dict[str, Any] = {
            "overlay": {"x": "x", "y": "y", "label": "bead", "size": self.roi_size},
            "status": {str(int(status)): status.name.lower() for status in Status},
        }
        if self._scale:
            meta["nm_per_px"] = self._scale
        fields = {
            "bead": "number of the bead",
            "x": "px, 0 in the middle of the first pixel",
            "y": "px, 0 in the middle of the first pixel",
            "z": "nm, as in the look-up table",
            "quality": "share of the variance that rings explain",
            "status": ", ".join(f"{int(s)} {s.name.lower()}" for s in Status),
        }
        return Spec((self.max_beads,), self.row, rate=source.rate, fields=fields, meta=meta)

    def changed(self, names: set[str]) -> None:
        """Take over moved regions or another table."""
        if "table" in names:
            self._use(LookupTable.load(self.table) if self.table else None)
        if "rois" in names:
            self._declare()

    # ---------------------------------------------------------------- frames

    def process(self, frame: Frame | Block) -> NDArray[Any]:
        """A row for every bead."""
        assert isinstance(frame, Frame)  # `block` is 1
        picture = gray(frame.data)
        self._seq = frame.seq
        if self.find_first and not len(self._regions):
            self._look_for_beads(picture, frame.mono_time)
        return self.track(picture, frame.mono_time)

    def track(self, picture: NDArray[Any], mono_time: int = 0) -> NDArray[Any]:
        """A row for every bead in a gray picture (height, width) of u8, u16 or f32."""
        regions = self._regions
        rows = np.empty(len(regions), self.row)
        rows["bead"] = regions.ids
        limits = Limits(self.min_quality, self.min_likeness, self.saturation or self._full_scale)
        for group in self._grouped():
            group.want_profiles(self._sweep is not None)
            group.track(picture, regions.centres, limits)
            for axis, name in enumerate("xyz"):
                rows[name][group.index] = group.places[:, axis]
            rows["quality"][group.index] = group.quality
            rows["status"][group.index] = group.status
            if self._sweep is not None and group.radii == self._sweep.radii:
                assert group.profiles is not None
                self._sweep.take(mono_time, regions.ids[group.index], group.profiles)
        if self._sweep is not None:
            self._sweep.count(mono_time)
        if self.follow:
            regions.follow(rows["x"], rows["y"])
        return rows

    # ---------------------------------------------------------------- actions

    @action
    def find(self) -> list[Roi]:
        """Find beads again, on the newest frame that was processed; answers with the regions.

        Beads that are known keep their numbers.

        Raises:
            ActionError: no frame has been processed, or it is gone.
        """
        source = self.lab.stream(self.source)
        frame = None if self._seq is None else source.at(self._seq) or source.at(source.head - 1)
        if frame is None:
            raise ActionError(
                f"{self.name}.find(): there is no frame of '{self.source}' to look at"
            )
        self.find_in(frame.copy())
        return self.rois

    def find_in(self, image: NDArray[Any]) -> None:
        """Take the beads of a picture as regions; known ones keep their numbers and sizes."""
        found = find_beads(image, self.roi_size, most=self.max_beads)
        self._set_rois(self._regions.renew(found, near=self.roi_size / 2))

    @action
    def add_roi(self, x: float, y: float) -> int:
        """Add a region in the middle of which a bead is, at x and y in px; answers with its id.

        Raises:
            ActionError: there are `max_beads` regions already.
        """
        if len(self._regions) >= self.max_beads:
            raise ActionError(
                f"{self.name}.add_roi(): there are {len(self._regions)} regions already, "
                f"max_beads is {self.max_beads}"
            )
        roi = Roi(id=self._regions.new_id(), x=x, y=y)
        self._set_rois([*self._regions.present(), roi])
        return roi.id

    @action
    def move_roi(self, id: int, x: float, y: float) -> None:  # noqa: A002
        """Move a region to x and y in px.

        Raises:
            ActionError: there is no region of that id.
        """
        self._set_rois(
            [
                roi.model_copy(update={"x": x, "y": y}) if roi.id == id else roi
                for roi in self._known("move_roi", id)
            ]
        )

    @action
    def remove_roi(self, id: int) -> None:  # noqa: A002
        """Remove a region.

        Raises:
            ActionError: there is no region of that id.
        """
        self._set_rois([roi for roi in self._known("remove_roi", id) if roi.id != id])

    @action
    def calibrate(
        self,
        device: Annotated[str, Field(description="node that moves the focus")],
        setting: Annotated[str, Field(description="its setting that is the focus")],
        start: float,
        stop: float,
        steps: Annotated[int, Field(ge=LEAST_HEIGHTS, le=10_000)],
        frames_per_step: Annotated[int, Field(ge=1, le=100_000)],
        file: Annotated[str, Field(min_length=1, description="where the table goes (.npz)")],
        bead: Annotated[int | None, Field(description="none: the one that moves least")] = None,
        nm_per_unit: Annotated[float, Field(description="nm per unit of the focus")] = 1000.0,
        settle: Annotated[float, Field(ge=0, le=60, description="s after each move")] = 0.05,
        smooth: Annotated[float, Field(ge=0, le=10, description="along z, steps")] = 0.0,
    ) -> Generator[tuple[float, str], None, dict[str, Any]]:
        """Make a look-up table by a focus sweep, save it and use it; puts the focus back.

        The height in the table is that of a bead above the one it was made of, with the focus
        where it was before: raising the focus by d looks like lowering the bead by d. With a focus
        that counts the other way round, give a negative `nm_per_unit`.

        Raises:
            ActionError: there are no beads, no frames come, or no bead was seen at all heights.
            SettingError: the focus cannot be set.
        """
        if not len(self._regions):
            raise ActionError(f"{self.name}.calibrate(): there are no beads to calibrate with")
        if start == stop or nm_per_unit == 0:
            raise ActionError(f"{self.name}.calibrate(): start and stop are the same height")
        focus = self.lab[device]
        home = float(focus.get(setting))
        places = np.linspace(start, stop, steps)
        sweep = FocusSweep(
            self._regions.ids, (home - places) * nm_per_unit, self._grouped()[0].radii
        )
        self._sweep = sweep

        def move(to: float) -> None:
            focus.set(**{setting: to})

        try:
            yield from sweep.run(move, places, home, frames_per_step, settle)
        except Exception:
            move(home)
            raise
        finally:
            self._sweep = None
        chosen = sweep.steadiest() if bead is None else bead
        facts = {"bead": chosen, "device": device, "setting": setting, "home": home}
        table = sweep.table(
            chosen,
            smooth,
            radius_step=self._grouped()[0].step,
            nm_per_px=self._scale,
            meta=facts,
        )
        path = str(Path(file).absolute())
        table.save(path)
        self._use(table)
        self.table = path
        return facts | {"file": path, "heights": steps, "from": table.z[0], "to": table.z[-1]}

    # ---------------------------------------------------------------- within

    def _look_for_beads(self, picture: NDArray[Any], mono_time: int) -> None:
        """Search at most once a second: a search takes longer than a frame may."""
        if self._look_after is None or mono_time >= self._look_after:
            self._look_after = mono_time + _LOOK_AGAIN
            self.find_in(picture)

    def _known(self, what: str, bead: int) -> list[Roi]:
        rois = self._regions.present()
        if all(roi.id != bead for roi in rois):
            raise ActionError(
                f"{self.name}.{what}(): found id {bead}, expected one of "
                f"{', '.join(str(roi.id) for roi in rois) or 'none: there are no regions'}"
            )
        return rois

    def _set_rois(self, rois: list[Roi]) -> None:
        self.rois = rois
        self._declare()

    def _declare(self) -> None:
        if len(self.rois) > self.max_beads:
            raise SettingError(
                f"{self.name}.rois: found {len(self.rois)} regions, expected at most "
                f"max_beads = {self.max_beads}"
            )
        self._regions.declare(self.rois)
        self._groups = None
        self._grouped()

    def _grouped(self) -> list[Group]:
        if self._groups is None:
            try:
                self._groups = groups_of(self._regions.sizes(self.roi_size), self._lookup)
            except TableError as error:
                raise TableError(f"{self.name}.table: {error}") from error
        return self._groups

    def _use(self, lookup: LookupTable | None) -> None:
        self._check_table(lookup)
        self._lookup, self._groups = lookup, None
        self._grouped()

    def _check_table(self, lookup: LookupTable | None) -> None:
        if lookup is None or lookup.nm_per_px is None or not self._scale:
            return
        if abs(lookup.nm_per_px / self._scale - 1) > _SCALES_AGREE:
            raise TableError(
                f"{self.name}.table: was made at {lookup.nm_per_px:g} nm per px, "
                f"the pictures have {self._scale:g}"
            )
