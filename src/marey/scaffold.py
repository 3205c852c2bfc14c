"""A plug-in package to begin with: one node that works, registered, with its conformance test."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template
from typing import Literal, NamedTuple, get_args

from marey.errors import NodeError
from marey.node.registry import GROUP, kinds

Role = Literal["camera", "processor", "sink", "device"]

_DISTRIBUTION = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""Names of packages by PyPA's "Names and normalization", beginning with a letter for Python."""


class _Names(NamedTuple):
    """What is derived from the name of a plug-in."""

    kind: str
    module: str
    cls: str


def scaffold(role: Role, name: str, folder: Path) -> Path:
    """Write a plug-in package into `folder`.

    Args:
        role: what its node is.
        name: name of the package and of the kind that it registers, such as `my-camera`.
        folder: where the package's folder is made.

    Returns:
        The package's folder.

    Raises:
        NodeError: the name cannot be that of a package, module and kind, or is taken; or the
            folder exists and is not empty, or cannot be written. Nothing is overwritten.
    """
    if role not in get_args(Role):
        raise NodeError(f"role: found {role!r}, expected one of {', '.join(get_args(Role))}")
    names = _names(name)
    target = Path(folder) / names.kind
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise NodeError(f"{target}: exists already; choose another name or folder")
    known = names._asdict() | {"role": role, "group": GROUP, "suite": f"{role.title()}Suite"}
    try:
        for path, template in _files(role, names).items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template(template.lstrip("\n")).substitute(known), encoding="utf-8")
    except OSError as error:
        raise NodeError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


def _names(name: str) -> _Names:
    """Names of the kind, the module and the class, all of them free.

    Raises:
        NodeError: one of them is impossible or taken.
    """
    if not _DISTRIBUTION.fullmatch(name):
        raise NodeError(
            f"name: found {name!r}, expected a letter, then letters, digits, '-', '_' or '.', "
            "not one of these at the end"
        )
    kind = re.sub(r"[-_.]+", "-", name).lower()
    module = kind.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise NodeError(f"name: found {name!r}, but '{module}' means something in Python already")
    if kind in kinds():
        raise NodeError(f"name: found {name!r}, but the kind '{kind}' is registered already")
    if importlib.util.find_spec(module) is not None:
        raise NodeError(f"name: found {name!r}, but a module '{module}' is installed already")
    return _Names(kind, module, "".join(part.capitalize() for part in kind.split("-")))


def _files(role: Role, names: _Names) -> dict[str, str]:
    """The templates by the path of their file."""
    return {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        "session.toml": _SESSIONS[role],
        f"src/{names.module}/__init__.py": _INIT,
        f"src/{names.module}/{role}.py": _NODES[role],
        f"tests/test_{names.module}.py": _TESTS.get(role, _TEST),
    }


_PYPROJECT = """
[build-system]
requires = ["flit_core>=3.4,<4"]
build-backend = "flit_core.buildapi"

[project]
name = "$kind"
version = "0.1.0"
description = "A $role for marey"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["marey", "numpy"]

[project.optional-dependencies]
dev = ["pytest"]

# What makes it a plug-in: marey finds the class by this line once the package is installed.
[project.entry-points."$group"]
$kind = "$module.$role:$cls"

[tool.pytest.ini_options]
testpaths = ["tests"]
"""

_README = """
# $kind

A $role for marey. The node is `src/$module/$role.py`.

    pip install -e '.[dev]'     # once; then marey knows the kind `$kind`
    pytest                      # whether it keeps the contract of a $role
    marey list $kind            # its settings
    marey run session.toml      # a session with it; Ctrl-C ends it
"""

_INIT = '''
"""A $role for marey."""

from $module.$role import $cls

__all__ = ["$cls"]
'''

_SESSIONS: dict[Role, str] = {
    "camera": """
[cam]
kind = "$kind"

[web]
kind = "web"
""",
    "processor": """
[cam]
kind = "beads"

[results]
kind = "$kind"
source = "cam"

[web]
kind = "web"
""",
    "sink": """
[cam]
kind = "beads"

[out]
kind = "$kind"
sources = ["cam"]
""",
    "device": """
[device]
kind = "$kind"

[web]
kind = "web"
""",
}

_TEST = '''
"""Whether `$cls` keeps the contract of a $role."""

from marey.testing import $suite

from $module import $cls


class Test$cls($suite):
    kind = "$kind"

    def node(self) -> $cls:
        return $cls()
'''

_TESTS: dict[Role, str] = {
    "processor": _TEST.replace("$cls()", '$cls(source="cam")'),
    "sink": '''
"""Whether `$cls` keeps the contract of a $role."""

from pathlib import Path

import pytest
from marey.testing import $suite

from $module import $cls


class Test$cls($suite):
    kind = "$kind"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def node(self) -> $cls:
        return $cls(file=str(self.folder / "items.csv"))

    def broken(self) -> $cls:
        return $cls(file=str(self.folder / "missing" / "items.csv"))
''',
}

_NODES: dict[Role, str] = {
    "camera": '''
"""The camera."""

import time

import marey
import numpy as np


class $cls(marey.Camera):
    """A moving ramp: put the driver of your camera in its place."""

    rate: float = marey.Setting(100.0, ge=0.1, le=10_000, unit="Hz", description="frames a second")
    slope: int = marey.Setting(1, ge=1, le=16, description="gray values from column to column")

    _count: int = 0
    _due: float = 0.0

    def open(self) -> None:
        """Connect; whatever this raises stops the start of the session and is shown."""
        self._count, self._due = 0, time.monotonic()

    def describe(self) -> marey.Spec:
        """The greatest frame and the type of its pixels."""
        return marey.Spec((480, 640), np.dtype("u1"), self.rate, "Mono8")

    def grab(self, out: np.ndarray) -> marey.Stamp | None:
        """Write the next frame into `out`; None where none comes within 0.1 s."""
        wait = self._due - time.monotonic()
        time.sleep(min(max(wait, 0.0), 0.1))
        if wait > 0.1:
            return None
        out[:] = np.arange(640) * self.slope + self._count
        self._count, self._due = self._count + 1, self._due + 1 / self.rate
        return marey.Stamp(device_frame=self._count)

    def close(self) -> None:
        """Disconnect; always called, also when `open` failed."""
''',
    "processor": '''
"""The processor."""

import marey
import numpy as np


class $cls(marey.Processor):
    """How sharp each frame is: the mean square difference of neighbouring pixels."""

    row = np.dtype([("sharpness", "f4")])
    max_rows = 1

    step: int = marey.Setting(1, ge=1, le=16, unit="px", description="distance of the neighbours")

    def process(self, frame: marey.Frame) -> np.ndarray | None:
        """One row for each frame; its pixels must not be written to, nor kept."""
        pixels = frame.data.astype("f4")
        differences = pixels[:, self.step :] - pixels[:, : -self.step]
        return np.array([(np.mean(differences**2),)], self.row)
''',
    "sink": '''
"""The sink."""

from typing import TextIO

import marey
from marey.errors import NodeError


class $cls(marey.Sink):
    """A text file with one line for each item: its stream, number and time."""

    file: str = marey.Setting("items.csv", apply="start", description="the file to write")

    _out: TextIO | None = None

    def open(self) -> None:
        """Begin the file."""
        try:
            self._out = open(self.file, "w", encoding="utf-8")
        except OSError as error:
            raise NodeError(f"{self.name}.file: found {self.file!r}: {error}") from error

    def append(self, name: str, frame: marey.Frame) -> None:
        """Take one item; its pixels must not be kept."""
        print(name, frame.seq, frame.host_time, sep=",", file=self._out)

    def close(self) -> None:
        """End the file; always called, also when `open` failed."""
        if self._out is not None:
            self._out.close()
            self._out = None
''',
    "device": '''
"""The device."""

import marey
import numpy as np


class $cls(marey.Device):
    """A light that only remembers its power: put the driver of your device in its place."""

    row = np.dtype([("power", "f4")])

    power: float = marey.Setting(0.0, ge=0, le=100, unit="mW", description="power of the light")

    def open(self) -> None:
        """Connect; whatever this raises stops the start of the session and is shown."""

    def changed(self, names: set[str]) -> None:
        """Send the settings that were just changed to the device."""

    def poll(self) -> np.ndarray | None:
        """What the device tells now, as its stream."""
        return np.array([(self.power,)], self.row)

    @marey.action
    def off(self) -> None:
        """Turn the light off."""
        self.power = 0.0

    def close(self) -> None:
        """Disconnect; always called, also when `open` failed."""
''',
}
