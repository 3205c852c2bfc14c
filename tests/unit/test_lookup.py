"""Look-up tables: made, kept, read back, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marey.errors import MareyError, TableError
from marey.processors import LookupTable


def rows(heights: int = 6, radii: int = 10) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (heights, radii)).astype(np.float32)


def make(**changes: Any) -> LookupTable:
    given = {"z": np.arange(6) * 50.0, "profiles": rows(), "radius_step": 1.0, "nm_per_px": 100.0}
    return LookupTable(**(given | changes))


def test_kept_and_read_back(tmp_path: Path) -> None:
    table = make(meta={"bead": 3, "device": "cam"})
    table.save(tmp_path / "a.npz")
    back = LookupTable.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.z, table.z)
    np.testing.assert_array_equal(back.profiles, table.profiles)
    assert back.profiles.dtype == np.float32
    assert (back.radius_step, back.nm_per_px, back.meta) == (1.0, 100.0, table.meta)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert "6 heights from 0 to 250 nm, 10 radii up to 9 px" in repr(back)


def test_a_name_without_ending_stays_as_it_is(tmp_path: Path) -> None:
    make().save(tmp_path / "mine.table")
    assert len(LookupTable.load(tmp_path / "mine.table").z) == 6


def test_it_cannot_be_changed() -> None:
    table = make()
    with pytest.raises(ValueError, match="read-only"):
        table.z[0] = 5


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"z": [0, 1, 2]}, r"shape \(3,\) and profiles of shape \(6, 10\)"),
        ({"profiles": rows().ravel()}, r"expected \(n_z,\) and \(n_z, n_r\)"),
        ({"z": [0, 1, 2], "profiles": rows(3)}, "found 3 heights, expected 4 or more"),
        ({"profiles": rows(6, 4)}, "found 4 radii, expected 8 or more"),
        ({"z": [0, 1, np.nan, 3, 4, 5]}, "z: found NaN or infinity"),
        ({"z": [0, 1, 2, 3, 4, np.inf]}, "z: found NaN or infinity"),
        ({"z": [0, 1, 3, 2, 4, 5]}, "found 2 after 3 nm, expected ascending"),
        ({"z": [0, 1, 1, 2, 4, 5]}, "found 1 after 1 nm, expected ascending"),
        ({"z": [5, 4, 3, 2, 1, 0]}, "expected ascending"),
        ({"profiles": np.where(np.eye(6, 10) > 0, np.nan, rows())}, "NaN or infinity in 6 of 6"),
        ({"profiles": rows() * np.array([[1, 1, 0, 1, 1, 1]]).T}, "no contrast at z = 100 nm"),
        ({"radius_step": 0.5}, "radius_step: found 0.5 px, expected 0.75"),
        ({"nm_per_px": -1.0}, "nm_per_px: found -1.0"),
        ({"nm_per_px": float("nan")}, "nm_per_px: found nan"),
    ],
)
def test_refused_with_the_reason(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(TableError, match=why):
        make(**changes)
    assert issubclass(TableError, MareyError)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read"),
        (b"no archive at all", "cannot be read"),
        (b"PK\x03\x04 broken", "cannot be read"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(TableError, match=f"a.npz': {why}"):
        LookupTable.load(path)


def test_other_archives(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="there is no such file"):
        LookupTable.load(tmp_path / "none.npz")
    np.savez(tmp_path / "a.npz", z=np.arange(5))
    with pytest.raises(TableError, match="facts"):
        LookupTable.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", facts=np.array('{"format": "x", "version": 9}'))
    with pytest.raises(TableError, match="found 'x' of version 9"):
        LookupTable.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", facts=np.array([{"a": 1}], dtype=object))
    with pytest.raises(TableError, match="cannot be read"):
        LookupTable.load(tmp_path / "c.npz")
    np.save(tmp_path / "d.npy", np.arange(5))
    with pytest.raises(TableError, match="cannot be read"):
        LookupTable.load(tmp_path / "d.npy")
    with pytest.raises(TableError, match="cannot be written"):
        make().save(tmp_path / "nowhere" / "a.npz")


@pytest.mark.parametrize("downwards", [False, True])
def test_text_tables_of_magscope(tmp_path: Path, downwards: bool) -> None:
    z, profiles = np.linspace(-200, 300, 6), rows()
    matrix = np.vstack([z, profiles.T])
    np.savetxt(tmp_path / "zlut.txt", matrix[:, ::-1] if downwards else matrix)
    table = LookupTable.load(tmp_path / "zlut.txt")
    np.testing.assert_allclose(table.z, z)
    np.testing.assert_allclose(table.profiles, profiles, rtol=1e-6)
    assert table.radius_step == 1.0
    assert table.nm_per_px is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no length, expected a matrix"),
        ("# only a comment\n", "no length, expected a matrix"),
        ("1 2 3 4\n1 2 3\n", "differing or no length"),
        ("1 2 three 4\n", "could not convert string to float"),
        ("0 1 2 3 4\n" + "5 6 7 8 9\n" * 3, "found 3 radii"),
        ("0 1 2 3 nan\n" + "5 6 7 8 9\n" * 9, "z: found NaN"),
        ("0 2 1 3 4\n" + "5 6 7 8 9\n" * 9, "found 1 after 2 nm"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "zlut.txt").write_text(text)
    with pytest.raises(TableError, match=why):
        LookupTable.load(tmp_path / "zlut.txt")


@settings(deadline=None)
@given(st.permutations(range(12)))
def test_built_of_profiles_in_any_order(order: list[int]) -> None:
    z = np.array([100.0, 0.0, 200.0, 300.0] * 3)
    profiles = rows(12)
    table = LookupTable.build(z[order], profiles[order])
    np.testing.assert_array_equal(table.z, [0, 100, 200, 300])
    for height, row in zip(table.z, table.profiles, strict=True):
        np.testing.assert_allclose(row, profiles[z == height].mean(axis=0), rtol=1e-4, atol=1e-6)


def test_built_without_the_invalid_ones() -> None:
    z = np.repeat(np.arange(5) * 10.0, 2)
    profiles = rows(10)
    profiles[3] = np.nan
    table = LookupTable.build(z, profiles, nm_per_px=80.0, meta={"bead": 1})
    np.testing.assert_allclose(table.profiles[1], profiles[2])
    assert (table.nm_per_px, table.meta) == (80.0, {"bead": 1})
    profiles[2] = np.nan
    with pytest.raises(TableError, match="no valid one at z = 10 nm"):
        LookupTable.build(z, profiles)
    with pytest.raises(TableError, match="one row for each height"):
        LookupTable.build(z, profiles[:-1])


def test_smoothing_takes_noise_and_leaves_shape() -> None:
    z = np.arange(60) * 20.0
    clean = np.sin(z[:, None] / 300 + np.arange(12)[None, :] / 2)
    noise = np.random.default_rng(1).normal(0, 0.1, clean.shape)
    rough = LookupTable.build(z, clean + noise)
    smooth = LookupTable.build(z, clean + noise, smooth=2.0)
    error = np.abs(smooth.profiles - clean)[5:-5].mean()
    assert error < 0.5 * np.abs(rough.profiles - clean)[5:-5].mean()
