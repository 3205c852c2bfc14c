"""The camera, processor and sink of the documentation: short, right, and run as they stand."""

from __future__ import annotations

import csv
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.documents import ROOT, blocks
from tests.support.waiting import eventually

from marey import Node, Session
from marey.testing import CameraSuite, ProcessorSuite, SinkSuite

EXAMPLES = ROOT / "examples"
FILES = ("circling.py", "centre.py", "csv_file.py", "session.py")


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder of examples on the path, as for who runs them there."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for file in FILES:
        sys.modules.pop(file.removesuffix(".py"), None)


def example(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def test_the_page_shows_the_files_as_they_are() -> None:
    shown = blocks("docs/how-to/write-a-node.md", "python")
    assert shown == [(EXAMPLES / file).read_text() for file in FILES]


@pytest.mark.parametrize("file", FILES)
def test_an_example_fits_in_forty_lines(file: str) -> None:
    assert len((EXAMPLES / file).read_text().splitlines()) <= 45
    code = [line for line in (EXAMPLES / file).read_text().splitlines() if line.strip()]
    assert len(code) <= 40


def test_they_find_the_spot_where_it_is(runtime: Path, tmp_path: Path) -> None:
    session = Session(
        "circle",
        cam=example("circling", "Circling")(rate=200),
        centre=example("centre", "Centre")(source="cam"),
        table=example("csv_file", "CsvFile")(sources=["centre"], path=str(tmp_path / "t.csv")),
    )
    with session.running() as lab:
        eventually(lambda: lab.table.rows() > 220)
        lab.cam.set(size=128, radius=10)
        rows = lab.table.rows()
        eventually(lambda: lab.table.rows() > rows + 220)
        assert lab.centre.spec.fields["x"] == "px"
    with (tmp_path / "t.csv").open() as file:
        table = [(int(seq), float(x), float(y)) for _, seq, _, x, y, _ in csv.reader(file)]
    assert [seq for seq, _, _ in table] == list(range(len(table)))
    places = np.array(table)[:, 1:]
    first, last = places[:200], places[-200:]
    assert np.allclose(np.hypot(*(first - 32).T), 20, atol=0.1)
    assert np.allclose(np.hypot(*(last - 64).T), 10, atol=0.1)
    for stream in session.ledger["streams"].values():
        for reader in stream["readers"].values():
            assert (reader["lost"], reader["behind"]) == (0, 0)


def test_the_session_runs_as_a_program(runtime: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "session.py", "0.5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, centre, _, table = done.stdout.splitlines()
    made = first.split()[-1]
    assert int(made) > 20
    assert centre == f"  centre received {made} lost 0"
    assert table == f"  table received {made} lost 0"
    assert len((tmp_path / "circle.csv").read_text().splitlines()) == int(made)


def test_the_session_can_be_written_as_a_file(runtime: Path) -> None:
    """Kinds of a package of one's own are named by its entry points; here by module and class."""
    text = "[cam]\nrate = 50.0\nradius = 5.0\n"
    cam = example("circling", "Circling").model_validate(tomllib.loads(text)["cam"])
    assert (cam.rate, cam.radius, cam.size) == (50.0, 5.0, 64)


class TestCamera(CameraSuite):
    """The camera keeps the contract."""

    def node(self) -> Node:
        """A camera."""
        made: Node = example("circling", "Circling")()
        return made


class TestProcessor(ProcessorSuite):
    """The processor keeps the contract."""

    def node(self) -> Node:
        """A processor."""
        made: Node = example("centre", "Centre")(source="film")
        return made


class TestSink(SinkSuite):
    """The sink keeps the contract."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def node(self) -> Node:
        """A sink."""
        made: Node = example("csv_file", "CsvFile")(path=str(self.folder / "rows.csv"))
        return made
