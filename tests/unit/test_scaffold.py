"""What `marey new` writes: names, files, and that nothing is overwritten."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from marey.errors import NodeError
from marey.scaffold import Role, scaffold

ROLES: tuple[Role, ...] = get_args(Role)


@pytest.mark.parametrize("role", ROLES)
def test_the_package_is_whole(tmp_path: Path, role: Role) -> None:
    made = scaffold(role, f"My.new_{role}", tmp_path)
    assert made == tmp_path / f"my-new-{role}"
    project = tomllib.loads((made / "pyproject.toml").read_text())
    place = f"my_new_{role}.{role}:MyNew{role.title()}"
    assert project["project"]["name"] == f"my-new-{role}"
    assert project["project"]["entry-points"]["marey.nodes"] == {f"my-new-{role}": place}
    tables = tomllib.loads((made / "session.toml").read_text())
    assert f"my-new-{role}" in {table["kind"] for table in tables.values()}
    for file in made.rglob("*.py"):
        ast.parse(file.read_text())
        assert "$" not in file.read_text()
    assert f"my-new-{role}" in (made / "README.md").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_a_node_fits_in_40_lines(tmp_path: Path, role: Role) -> None:
    made = scaffold(role, f"my-{role}", tmp_path)
    lines = (made / f"src/my_{role}/{role}.py").read_text().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "expected a letter"),
        ("1camera", "expected a letter"),
        ("-camera", "expected a letter"),
        ("camera-", "expected a letter"),
        ("my camera", "expected a letter"),
        ("../camera", "expected a letter"),
        ("camera\n", "expected a letter"),
        ("kamera-größe", "expected a letter"),
        ("class", "means something in Python already"),
        ("json", "means something in Python already"),
        ("numpy", "a module 'numpy' is installed already"),
        ("marey", "a module 'marey' is installed already"),
        ("Video", "the kind 'video' is registered already"),
        ("bead_tracker", "the kind 'bead-tracker' is registered already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(NodeError, match=reason) as caught:
        scaffold("camera", name, tmp_path)
    assert repr(name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="found 'lens', expected one of camera, processor, sink"):
        scaffold("lens", "my-lens", tmp_path)  # type: ignore[arg-type]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    made = scaffold("camera", "my-camera", tmp_path)
    (made / "README.md").write_text("mine")
    with pytest.raises(NodeError, match="exists already"):
        scaffold("sink", "my_camera", tmp_path)
    assert (made / "README.md").read_text() == "mine"
    (tmp_path / "my-sink").write_text("a file")
    with pytest.raises(NodeError, match="exists already"):
        scaffold("sink", "my-sink", tmp_path)
    (tmp_path / "my-processor").mkdir()
    scaffold("processor", "my-processor", tmp_path)


def test_a_folder_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NodeError, match="cannot be written: Not a directory"):
        scaffold("camera", "my-camera", tmp_path / "file")
