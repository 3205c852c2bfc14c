"""The C++ core of marey: ring, wake-ups, bead kernels, frame synthesis."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

CORE_FILE: str
"""Where the compiled core stands: what is installed beside it is found from there."""

# ---------------------------------------------------------------- ring

class Frame:
    """One item of a stream: a view of shared memory and its stamps."""

    @property
    def data(self) -> NDArray[Any]:
        """The item as a read-only view of shared memory, of its own shape."""

    @property
    def seq(self) -> int:
        """Its gapless number in its stream."""

    @property
    def source_seq(self) -> int | None:
        """The number of the item that this result was made of."""

    @property
    def device_frame(self) -> int | None:
        """The device's own frame counter."""

    @property
    def device_time(self) -> int | None:
        """Time of the exposure on the device's clock, ns."""

    @property
    def host_time(self) -> int:
        """Unix time of the exposure, ns; results inherit it."""

    @property
    def mono_time(self) -> int:
        """Monotonic time of the exposure, ns; results inherit it."""

    @property
    def published(self) -> int:
        """Monotonic time of the publication, ns."""

    @property
    def epoch(self) -> int:
        """Which of its stream's writers made it, counted from 1."""

    @property
    def lost(self) -> range:
        """Numbers of the items that this reader lost just before this one."""

    @property
    def stamps(self) -> NDArray[Any]:
        """The stamps as a (1,) array of `marey.stream.STAMP`."""

    def valid(self) -> bool:
        """Whether the pixels have not been overwritten; ask after using them."""

    def copy(self) -> NDArray[Any]:
        """A copy of the pixels; raises StreamError where they were overwritten meanwhile."""

class Block:
    """Consecutive items of a stream seen as one view, without a copy."""

    @property
    def data(self) -> NDArray[Any]:
        """(T, *shape) read-only view; raises StreamError where shapes differ."""

    @property
    def seq(self) -> int:
        """The number of the first item."""

    @property
    def epoch(self) -> int:
        """Which of its stream's writers made the first item."""

    @property
    def lost(self) -> range:
        """Numbers of the items that this reader lost just before this block."""

    @property
    def stamps(self) -> NDArray[Any]:
        """The stamps as a (T,) array of `marey.stream.STAMP`."""

    def valid(self) -> bool:
        """Whether no item has been overwritten; ask after using them."""

    def copy(self) -> NDArray[Any]:
        """A copy of the pixels; raises StreamError where they were overwritten meanwhile."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> NDArray[Any]: ...

class Reader:
    """A reader of a stream with an account of what it received and lost."""

    def __init__(
        self,
        folder: str,
        stream: str,
        name: str,
        policy: Literal["every", "latest"],
        start: str,
        start_value: int,
        keep: bool,
        block: int,
    ) -> None: ...
    def read(self, timeout: float | None = None) -> Any:
        """The next Frame (or Block); None when `timeout` seconds passed without one.

        Raises StreamClosed when the stream has ended and all of it was read.
        """

    def release(self, intact: bool | None = None) -> bool:
        """Settle the item in hand: whether it was intact and hence counts as received.

        Who asked `valid()` when the item had been used tells by `intact` what the answer was: what
        has happened to it since then does not matter.
        """

    def settle_before(self, seq: int) -> None:
        """Count what lies before item `seq` as received.

        For who goes on with the account of a process that had dealt with it, and was killed before
        it could settle it.
        """

    def purge(self) -> int:
        """Pass over what is published already, to be at the newest again; how many items.

        The next item tells them as `lost`; of an `every` reader they count as lost, "purged".
        """

    def close(self) -> None:
        """Settle the item in hand and leave the stream."""

    @property
    def ready(self) -> bool:
        """Whether `read` would answer at once."""

    @property
    def cursor(self) -> int:
        """The number of the item in hand, or of the next."""

    @property
    def row(self) -> int:
        """Its place in the stream's table of readers."""

    @property
    def spec_json(self) -> str: ...
    @property
    def stream(self) -> str: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...

class Writer:
    def __init__(
        self,
        folder: str,
        name: str,
        spec: str,
        shape: Sequence[int],
        itemsize: int,
        slots: int,
        lossless: bool,
    ) -> None: ...
    def write(
        self,
        array: NDArray[Any],
        *,
        source_seq: int | None = None,
        device_frame: int | None = None,
        device_time: int | None = None,
        host_time: int = 0,
        mono_time: int = 0,
        timeout: float | None = None,
    ) -> int:
        """Copy one item into the ring and publish it; returns its number."""

    def write_block(
        self,
        array: NDArray[Any],
        stamps: NDArray[Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> int:
        """Copy (T, *shape) items into the ring and publish them; returns the first number."""

    def lend(self, n: int | None = None, *, timeout: float | None = None) -> NDArray[Any] | None:
        """Memory of the next item, or as (n, *shape) of the next n; None when a lossless stream has
        no room within `timeout` seconds."""

    def publish(
        self, n: int = 1, stamps: NDArray[Any] | None = None, *, shape: Sequence[int] | None = None
    ) -> int:
        """Publish the first n items that were lent; returns the first number."""

    def publish_one(
        self,
        *,
        source_seq: int | None = None,
        device_frame: int | None = None,
        device_time: int | None = None,
        host_time: int = 0,
        mono_time: int = 0,
    ) -> int:
        """Publish the item that was lent, of the full shape; returns its number."""

    def account(self, device_lost: int, device_repeated: int = 0) -> None:
        """Enter frames that the device lost or delivered twice."""

    def heartbeat(self) -> None: ...
    def close(self, *, ended: bool = True) -> None:
        """End the stream, or hand it over to the next writer."""

    @property
    def head(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def most(self) -> int:
        """How many items can be lent at a time."""

    @property
    def is_open(self) -> bool: ...
    @property
    def laggard(self) -> str | None: ...

class Ring:
    """A segment attached for looking, without an account."""

    def __init__(self, folder: str, name: str) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def spec_json(self) -> str: ...
    @property
    def head(self) -> int: ...
    @property
    def oldest(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def superseded(self) -> bool:
        """Whether another segment took this one's name, or the stream was removed."""

    def look(self, seq: int) -> Frame | None: ...
    def find_source(self, source_seq: int) -> Frame | None: ...
    def stamps(self, n: int) -> NDArray[Any]: ...
    def facts(self) -> dict[str, Any]: ...
    def accounts(self) -> list[dict[str, Any]]: ...

class Doorbell:
    """A word on which `wait_any` sleeps as well."""

    def ring(self) -> None: ...

def rung(bell: Doorbell) -> int: ...
def wait_any(
    readers: Sequence[Reader], bell: Doorbell | None, rung: int, timeout: float
) -> bool: ...
def end_stream(folder: str, name: str) -> bool: ...
def self_owner() -> int: ...
def is_alive(owner: int) -> bool: ...
def sleep_until(mono: int) -> None: ...

# ---------------------------------------------------------------- synthesis

class BeadScene:
    def __init__(
        self,
        shape: tuple[int, int],
        tile: int,
        root: NDArray[np.float32],
        radial_step: float,
        first_z: float,
        z_step: float,
        background: float,
        full_scale: float,
        seed: int,
        cache_bytes: int = ...,
    ) -> None: ...
    @property
    def tiles(self) -> int: ...
    def set_gain(self, gain: float) -> None: ...
    def draw(
        self, out: NDArray[Any], key: int, positions: NDArray[np.float64], focus: float = 0.0
    ) -> None: ...

def ornstein_uhlenbeck(
    state: NDArray[np.float64],
    decay: tuple[float, float, float],
    kick: tuple[float, float, float],
    seed: int,
    first: int,
    frames: int,
) -> None: ...
def fill_rows(out: NDArray[Any], pool: NDArray[Any], seed: int, key: int) -> None: ...
def fill_uniform(out: NDArray[Any], seed: int, key: int) -> None: ...
def fill_lookup(out: NDArray[Any], table: NDArray[Any], seed: int, key: int) -> None: ...
def fill_counter(out: NDArray[Any], frames: NDArray[np.uint64]) -> None: ...
def sharpen_timers() -> None: ...

# ---------------------------------------------------------------- beads

class RadialTable:
    """Radial profiles (heights, radii) at heights z, prepared for comparison."""

    def __init__(self, profiles: NDArray[np.float32], z: NDArray[np.float64]) -> None: ...
    def match(self, profile: NDArray[np.float32]) -> tuple[float, float, bool]:
        """Height, likeness to the table there, and whether it lies inside the table."""

def track_beads(
    image: NDArray[Any],
    starts: NDArray[np.float64],
    size: int,
    step: float,
    radii: int,
    min_quality: float,
    min_likeness: float,
    saturation: float,
    table: RadialTable | None,
    places: NDArray[np.float64],
    quality: NDArray[np.float32],
    status: NDArray[np.uint8],
    profiles: NDArray[np.float32] | None = None,
) -> None:
    """Track beads near `starts` (n, 2) into `places` (n, 3), `quality`, `status`, `profiles`."""

def border_level(region: NDArray[Any]) -> tuple[float, float]: ...
def centre_of_mass(
    region: NDArray[Any], level: float, floor: float
) -> tuple[float, float] | None: ...
def mirror_centre(region: NDArray[Any], x: float, y: float) -> tuple[float, float] | None: ...
def radial_profile(
    image: NDArray[Any], x: float, y: float, step: float, radii: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
def ring_fit(
    image: NDArray[Any],
    x: float,
    y: float,
    step: float,
    profile: NDArray[np.float32],
    saturation: float,
) -> tuple[float, float, float, float]: ...
def ring_votes(
    image: NDArray[Any], nearest: int, farthest: int, out: NDArray[np.float32]
) -> None: ...
def bandpass(image: NDArray[Any], box: int, sign: float, out: NDArray[np.float32]) -> None: ...
def peaks(
    map: NDArray[np.float32],  # noqa: A002
    threshold: float,
    separation: float,
    margin: int,
    most: int,
) -> NDArray[np.float32]:
    """Maxima (x, y, height), highest first."""

def centroids(
    map: NDArray[np.float32],  # noqa: A002
    peaks: NDArray[np.float32],
    radius: float,
) -> NDArray[np.float64]:
    """Of each peak x, y, mass, radius of gyration."""

def luma(rgb: NDArray[Any], out: NDArray[Any]) -> None:
    """Gray of a colour image."""
