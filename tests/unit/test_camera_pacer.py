"""The clocks of simulated devices."""

from __future__ import annotations

import time

import numpy as np
import pytest

from marey.cameras.pacer import Exposure, OneShot, Pacer, Unpaced, next_exposure


def exposures(pacer: Pacer, count: int) -> list[Exposure]:
    found: list[Exposure] = []
    while len(found) < count:
        one = next_exposure(pacer)
        if one is not None:
            found.append(one)
    return found


def test_frames_come_on_an_absolute_schedule_and_never_early() -> None:
    pacer = Pacer(1000.0, 10**6)
    seen = []
    for _ in range(50):
        (one,) = exposures(pacer, 1)
        assert time.monotonic_ns() >= one.mono_time
        seen.append(one)
    assert [e.frame for e in seen] == list(range(50))
    start = seen[0].mono_time
    assert [e.mono_time - start for e in seen] == [k * 1_000_000 for k in range(50)]
    assert [e.device_time for e in seen] == [k * 1_000_000 for k in range(50)]
    assert all(abs(e.host_time - time.time_ns()) < 60e9 for e in seen)


@pytest.mark.parametrize("rate", [0.3, 7.7, 29.97, 3333.3, 199_999.0])
def test_the_schedule_does_not_drift_at_odd_rates(rate: float) -> None:
    pacer = Pacer(rate, 10**9)
    pacer.due()
    times = pacer.take(100_000)
    np.testing.assert_allclose(
        times - times[0], np.arange(100_000) * 1e9 / rate, atol=1, rtol=1e-12
    )
    assert pacer.take(1)[0] - times[0] == pytest.approx(100_000 * 1e9 / rate, abs=1, rel=1e-12)


def test_a_frame_that_is_far_off_is_not_waited_for() -> None:
    pacer = Pacer(0.1, 4)
    assert next_exposure(pacer) is not None
    before = time.monotonic()
    assert pacer.wait(0.02) == 0
    assert time.monotonic() - before >= 0.02


def test_a_slow_reader_loses_the_oldest_frames_and_no_others() -> None:
    pacer = Pacer(1000.0, 5)
    exposures(pacer, 1)
    time.sleep(0.05)  # the slowness under test
    waiting = pacer.due()
    assert waiting == 5
    (late,) = exposures(pacer, 1)
    assert late.frame >= 45
    assert pacer.lost >= late.frame - 1
    assert pacer.lost == pacer.frame - 2  # two frames were read


def test_a_new_rate_holds_from_the_next_exposure_on() -> None:
    pacer = Pacer(1.0, 10**6)
    (first,) = exposures(pacer, 1)
    pacer.rate = 2000.0
    after = exposures(pacer, 3)
    assert [e.frame for e in after] == [1, 2, 3]
    assert pacer.lost == 0
    assert after[0].mono_time - first.mono_time >= 500_000
    assert after[2].mono_time - after[1].mono_time == 500_000


def test_snaps_wait_in_order() -> None:
    clock = OneShot(frame=7)
    assert clock.wait(0.001) == 0
    assert [clock.snap(), clock.snap()] == [7, 8]
    one, two = next_exposure(clock), next_exposure(clock)
    assert one is not None
    assert two is not None
    assert (one.frame, two.frame, one.device_time) == (7, 8, 0)
    assert two.mono_time >= one.mono_time
    assert clock.due() == 0


def test_an_unpaced_clock_always_has_a_frame() -> None:
    clock = Unpaced()
    found = [next_exposure(clock) for _ in range(3)]
    assert [e.frame for e in found if e] == [0, 1, 2]
    assert len(clock.take(10)) == 10
    assert clock.frame == 13
