"""Whatever stands in a stream's files, the answer is a value or an error: no crash, no hang."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "support" / "fuzz_stream.py"
BATCH = 150


@pytest.mark.parametrize("first", range(0, 8 * BATCH, BATCH))
def test_spoiled_streams_are_refused_or_read(runtime: Path, first: int) -> None:
    told = subprocess.run(
        [sys.executable, "-W", "error", str(FUZZ), str(runtime), str(first), str(BATCH)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    outcomes = ast.literal_eval(told.stdout)
    # Both are reached: what is damaged is refused, what is harmless goes on.
    assert outcomes["fine"] > BATCH
    assert outcomes["StreamDamaged"] > BATCH / 4
