"""A plug-in made by `marey new` works as it is: installed, it passes its own conformance test."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from marey.scaffold import Role, scaffold

ROLES: tuple[Role, ...] = get_args(Role)


def run(*command: str, path: str) -> str:
    """The output of a program that finds what is installed in `path`."""
    environment = os.environ | {"PYTHONPATH": path}
    del environment["MAREY_RUNTIME_DIR"]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def prove(made: Path, path: str) -> None:
    """Run the plug-in's own test."""
    told = run("pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(made), path=path)
    assert " passed" in told
    assert "failed" not in told
    assert "skipped" not in told


@pytest.mark.parametrize("role", ROLES)
def test_a_new_plugin_passes_its_conformance_test(tmp_path: Path, role: Role) -> None:
    made = scaffold(role, f"my-{role}", tmp_path / "made")
    # What an installer would write of it.
    about = tmp_path / "installed" / f"my_{role}-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: my-{role}\nVersion: 0.1.0\n")
    points = tomllib.loads((made / "pyproject.toml").read_text())["project"]["entry-points"]
    ((group, kinds),) = points.items()
    lines = [f"[{group}]", *(f"{kind} = {place}" for kind, place in kinds.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
    prove(made, os.pathsep.join([str(about.parent), str(made / "src")]))


@pytest.mark.skipif(not importlib.util.find_spec("flit_core"), reason="needs flit_core")
def test_a_new_plugin_can_be_installed(tmp_path: Path) -> None:
    made = scaffold("camera", "my-camera", tmp_path / "made")
    place = str(tmp_path / "installed")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    run("pip", "install", "-q", *offline, "--target", place, str(made), path=place)
    prove(made, place)
