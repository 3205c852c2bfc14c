"""The C example reads streams that Python writes, and refuses what is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from marey.stream import Source, Spec, Stream

REPOSITORY = Path(__file__).parents[2]
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("g++")


@pytest.fixture(scope="module")
def latest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compiled as its first lines say."""
    if COMPILER is None:
        pytest.skip("no C compiler on this machine")
    program = tmp_path_factory.mktemp("c") / "latest"
    subprocess.run(
        [
            *(COMPILER, "-x", "c", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"),
            *("-I", str(REPOSITORY / "native" / "include")),
            *(str(REPOSITORY / "examples" / "c" / "latest.c"), "-o", str(program)),
        ],
        check=True,
    )
    return program


def run(program: Path, *arguments: object) -> tuple[int, str]:
    told = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    return told.returncode, told.stdout + told.stderr


def test_it_prints_the_newest_item(runtime: Path, latest: Path) -> None:
    with Stream(runtime, "cam", Spec((10, 7), np.dtype("u2")), slots=64) as stream:
        assert run(latest, runtime, "cam") == (1, "latest: nothing has been published yet\n")
        for seq in range(200):
            stream.write(np.full((10, 7), seq, "u2"))
        stream.write(np.full((3, 7), 5, "u2"))
        frame = Source(runtime, "cam").at(200)
        assert frame is not None
        code, told = run(latest, runtime, "cam")
        assert code == 0
        assert told == f"seq 200, published at {frame.published} ns, 42 bytes, sum 105\n"
    # Another layout, another generation of the data file.
    with Stream(runtime, "cam", Spec((4,), np.dtype("u1")), slots=8) as stream:
        stream.write(np.array([1, 2, 3, 4], "u1"))
        _, told = run(latest, runtime, "cam")
        assert told.startswith("seq 201,")
        assert told.endswith("4 bytes, sum 10\n")


def test_it_refuses_what_is_no_stream(runtime: Path, latest: Path) -> None:
    assert run(latest) == (1, "latest: expected: latest FOLDER STREAM\n")
    assert run(latest, runtime, "cam") == (1, "latest: there is no such stream\n")
    (runtime / "cam.ring").write_bytes(bytes(9000))
    assert run(latest, runtime, "cam") == (1, "latest: this is not a stream\n")
