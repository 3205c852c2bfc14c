"""Fixtures of all tests: an own runtime folder, real data, and a check for what was left behind."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.leaks import Leaks, mappings_of

settings.register_profile("marey", deadline=None, print_blob=True)
settings.load_profile("marey")

_SHM = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test itself passed: a failed one may leave things, and has said so."""
    report = yield
    if report.when == "call":
        item.stash[_PASSED] = report.passed
    return report


_PASSED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def leaks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a process, thread, socket, file descriptor or runtime folder behind.

    A test that makes streams or sessions without the fixture `runtime` fails as well: it would do
    so in the user's own runtime folder.
    """
    monkeypatch.setenv("MAREY_RUNTIME_DIR", f"{os.devnull}/ask-for-the-fixture-runtime")
    monkeypatch.delenv("COLUMNS", raising=False)  # tables are as wide as they need to be
    before = Leaks.mark(monkeypatch)
    yield
    found = before.found()
    if found and request.node.stash.get(_PASSED, False):
        pytest.fail("left behind: " + "; ".join(found), pytrace=False)


@pytest.fixture
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of this test's own, in shared memory; short enough for sockets."""
    folder = Path(tempfile.mkdtemp(dir=_SHM, prefix=f"marey-test-{os.getpid()}-"))
    monkeypatch.setenv("MAREY_RUNTIME_DIR", str(folder))
    yield folder
    request.node.funcargs.clear()  # what other fixtures made with it is torn down, but kept here
    gc.collect()
    mapped = mappings_of(folder)
    shutil.rmtree(folder)
    if mapped and request.node.stash.get(_PASSED, False):
        pytest.fail("segments still mapped: " + ", ".join(sorted(mapped)), pytrace=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings that the project is tested with; skips where it is absent."""
    repository = Path(__file__).resolve().parents[1]
    named = os.environ.get("MAREY_SHARED_DATA")
    for folder in (
        *([Path(named)] if named else []),
        repository.parent / "shared" / "data",
        repository.parent.parent / "shared" / "data",
    ):
        if folder.is_dir():
            return folder
    pytest.skip("no shared/data beside the repository; MAREY_SHARED_DATA may name it")
