"""Run as a program: spoil streams at random and use them; anything but a MareyError is a failure.

Arguments: a folder, the first seed, how many. A crash or a hang is seen from outside.
"""

from __future__ import annotations

import faulthandler
import random
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from marey._native import end_stream
from marey.errors import MareyError
from marey.stream import Source, Spec, Stream
from marey.stream.ledger import stream_account

HEADER = 152  # bytes of marey_header; the last eight are its checksum
CONTROL, CONTROL_BYTES = 4096, 832
EXTREMES = [
    0,
    1,
    2,
    3,
    64,
    4096,
    2**31,
    2**32 - 1,
    2**32,
    2**46,
    2**62,
    2**63,
    2**64 - 2,
    2**64 - 1,
]
ITEM = np.zeros((16, 16), "u1")
SPEC = Spec((16, 16), np.dtype("u1"))


def fnv1a(data: bytes) -> int:
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def seal(control: bytearray) -> None:
    """Make the checksum right, so that the checks behind it are reached."""
    spec_offset, spec_bytes = struct.unpack_from("<QQ", control, HEADER - 24)
    spec = control[spec_offset : spec_offset + spec_bytes]
    struct.pack_into("<Q", control, HEADER - 8, fnv1a(bytes(control[: HEADER - 8]) + bytes(spec)))


def spoil_words(data: bytearray, rng: random.Random, start: int, stop: int) -> None:
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        at = rng.randrange(start, stop - 7) & ~7
        word = struct.unpack_from("<Q", data, at)[0]
        near = (word + rng.choice([-64, -8, -1, 1, 8, 64])) % 2**64
        value = rng.choice([rng.choice(EXTREMES), rng.getrandbits(64), near])
        struct.pack_into("<Q", data, at, value)


def spoil_header(control: bytearray, rng: random.Random) -> None:
    spoil_words(control, rng, 16, HEADER - 8)
    if rng.random() < 0.8:
        seal(control)


def spoil_control(control: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.5:  # the counters themselves
        for at in rng.sample([0, 64, 72, 192, 200, 208, 256, 264], 3):
            struct.pack_into("<Q", control, CONTROL + at, rng.choice(EXTREMES))
    else:
        spoil_words(control, rng, CONTROL, CONTROL + CONTROL_BYTES)


def spoil_slots(control: bytearray, rng: random.Random) -> None:
    spoil_words(control, rng, 8192, len(control))


def spoil_spec(control: bytearray, rng: random.Random) -> None:
    spec_offset, spec_bytes = struct.unpack_from("<QQ", control, HEADER - 24)
    for _ in range(rng.choice([1, 3, 20])):
        at = spec_offset + rng.randrange(spec_bytes)
        control[at] = rng.choice(b'[]{}",:0123456789.eE-nulf\x00\xff<>|uifcV')
    seal(control)


def spoil_anything(control: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(control))
    junk = rng.randbytes(rng.choice([1, 8, 64, 4096]))
    control[at : at + len(junk)] = junk[: len(control) - at]


SPOILERS = [spoil_header, spoil_control, spoil_slots, spoil_spec, spoil_anything]


def spoil(folder: Path, rng: random.Random) -> None:
    """Make a stream with readers and a history, then spoil one of its files."""
    stream = Stream(folder, "cam", SPEC, slots=rng.choice([16, 32]))
    readers = [Source(folder, "cam", reader=f"r{i}", keep=i % 2 == 0).every() for i in range(3)]
    for _ in range(rng.choice([0, 5, 40])):
        stream.write(ITEM)
    readers[0].read(0)
    for reader in readers:
        reader.close()
    stream.close(ended=rng.random() < 0.5)
    if rng.random() < 0.2:
        path = folder / "cam.1.readers"
        data = bytearray(path.read_bytes())
        spoil_words(data, rng, 0 if rng.random() < 0.2 else 64, len(data))
    else:
        path = folder / "cam.ring"
        data = bytearray(path.read_bytes())
        rng.choice(SPOILERS)(data, rng)
        if rng.random() < 0.05:
            data = data[: rng.randrange(len(data))]
    path.write_bytes(data)


def uses(folder: Path, rng: random.Random) -> list[Callable[[], Any]]:
    """Everything that one can do with a stream."""
    source = Source(folder, "cam", reader="r0", keep=rng.random() < 0.5)

    def look() -> None:
        ring = source.ring
        stream_account(ring)
        source.stamps(2**40)
        for seq in (0, ring.oldest, ring.head - 1, ring.head // 2, 2**64 - 1):
            frame = source.at(max(0, seq))
            if frame is not None:
                frame.data.sum()
                _ = frame.copy(), frame.stamps, frame.lost, frame.epoch, repr(frame)
        source.find(rng.getrandbits(64))

    def read(kind: str) -> None:
        start: Any = rng.choice(["now", "oldest", 0.0, 5.0, 1e9])
        reader = {
            "every": lambda: source.every(start=start),
            "latest": source.latest,
            "block": lambda: source.block(3, start=start),
        }[kind]()
        with reader:
            for _ in range(20):
                if (got := reader.read(0)) is None:
                    break
                got.data.sum()
                _ = got.copy(), got.stamps, got.lost
                reader.release()
            _ = reader.ready

    def write() -> None:
        with Stream(folder, "cam", SPEC, slots=rng.choice([16, 32]), lossless=False) as stream:
            for _ in range(5):
                stream.write(ITEM)

    return [
        look,
        lambda: read("every"),
        lambda: read("latest"),
        lambda: read("block"),
        lambda: end_stream(str(folder), "cam"),
        write,
    ]


def main() -> None:
    """Try the seeds; print how often each outcome came."""
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    outcomes: Counter[str] = Counter()
    for seed in range(first, first + count):
        faulthandler.dump_traceback_later(20, exit=True)
        rng = random.Random(seed)
        spoil(folder, rng)
        todo = uses(folder, rng)
        rng.shuffle(todo)
        print(f"seed {seed}", file=sys.stderr, flush=True)
        for use in todo:
            try:
                use()
            except MareyError as error:
                outcomes[type(error).__name__] += 1
            else:
                outcomes["fine"] += 1
        for path in folder.iterdir():
            path.unlink()
    print(dict(outcomes))


if __name__ == "__main__":
    main()
