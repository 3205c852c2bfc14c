"""Session-wide settings: followed by the nodes that declare them, all of them or none."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from marey import Lab, Session
from marey.errors import MareyError, SettingError
from marey.session import SharedSettings
from support.nodes import Lamp, Picky, Sum, Ticker
from support.waiting import eventually


def test_followers_take_a_change_over_and_acknowledge_it(runtime: Path) -> None:
    session = Session(
        "bench", cam=Ticker(), two=Ticker(), sums=Sum(source="cam"), lamp=Lamp(), picky=Picky()
    )
    with session.running() as lab, lab.events() as events:
        assert lab.set(mode="day", run="r1") == {
            "cam": {"mode": "day"},
            "two": {"mode": "day"},
            "lamp": {"mode": "day"},
            "picky": {"mode": "day", "run": "r1"},
        }
        assert lab.get() == {"acquiring": True, "folder": "data", "run": "r1", "mode": "day"}
        assert lab.cam.get("mode") == "day"
        # Each node tells from which of its items on the change holds, and the session tells it.
        told: dict[str, tuple[object, int]] = {}
        while set(told) != {"cam", "two", "lamp", "picky", "session"}:
            event = next(e for e in events if e.kind == "setting")
            told[event.node] = (event.data["values"], event.data["seq"])
        assert told["session"] == ({"mode": "day", "run": "r1"}, None)
        assert told["cam"][1] >= 0


def test_acquiring_stops_and_starts_all_cameras(runtime: Path) -> None:
    with Session("bench", cam=Ticker(), two=Ticker()).running() as lab:
        eventually(lambda: lab.cam.head and lab.two.head)
        lab.set(acquiring=False)
        heads = lab.cam.head, lab.two.head
        assert lab.cam.get("acquiring") is False
        assert (lab.cam.head, lab.two.head) == heads
        lab.set(acquiring=True)
        eventually(lambda: lab.cam.head > heads[0] and lab.two.head > heads[1])


def test_one_that_refuses_a_value_refuses_for_all(runtime: Path) -> None:
    with Session("bench", cam=Ticker(), lamp=Lamp(), picky=Picky()).running() as lab:
        with pytest.raises(SettingError, match=r"^picky.mode: found 'too long', "):
            lab.set(mode="too long", acquiring=False)
        assert lab.get()["mode"] == ""
        assert lab.get()["acquiring"] is True
        assert [lab[n].get("mode") for n in ("cam", "lamp", "picky")] == ["", "", ""]
        assert lab.cam.get("acquiring") is True


def test_one_that_fails_to_take_it_over_makes_all_take_it_back(runtime: Path) -> None:
    """Its value is fine, but what it does with it fails: those before it have changed already."""
    with Session("bench", cam=Ticker(), lamp=Lamp(), picky=Picky()).running() as lab:
        lab.set(mode="sun")
        with pytest.raises(SettingError, match=r"^picky: ValueError: cannot go to the moon$"):
            lab.set(mode="moon")
        assert lab.get()["mode"] == "sun"
        assert [lab[n].get("mode") for n in ("cam", "lamp", "picky")] == ["sun", "sun", "sun"]


def test_nodes_begin_with_the_values_of_the_session(runtime: Path) -> None:
    session = Session(
        "bench",
        shared=SharedSettings(mode="night", acquiring=False),
        cam=Ticker(),
        own=Ticker(mode="own"),
    )
    with session.running() as lab:
        assert lab.cam.get("mode") == "night"
        assert lab.cam.get("acquiring") is False
        assert lab.own.get("mode") == "own"  # given to the node itself
        assert lab.cam.head == 0


def test_a_change_while_the_session_starts_is_heard_by_all(runtime: Path) -> None:
    session = Session("bench", cam=Ticker(), slow=Ticker(opening="sleep 1"), lamp=Lamp())
    supervisor = session._supervisor()
    failures: list[BaseException] = []

    def change() -> None:
        try:
            eventually(lambda: (runtime / "bench" / "session.cmd").exists())
            with Lab("bench", runtime / "bench") as lab:
                for i in range(30):
                    lab.set(mode=f"m{i}")
                eventually(lambda: lab.status()["nodes"]["slow"]["state"] == "running")
                lab.set(mode="last")
                for name in ("cam", "slow", "lamp"):
                    assert lab[name].get("mode") == "last"
                    assert lab[name].get("acquiring" if name != "lamp" else "on") is not None
                lab.stop()
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failures.append(error)
            supervisor.stop()

    thread = threading.Thread(target=change)
    thread.start()
    supervisor.run(None, signals=False)
    thread.join()
    assert failures == []


def test_a_node_that_was_away_hears_of_it_when_it_is_back(runtime: Path, tmp_path: Path) -> None:
    door = tmp_path / "door"
    door.touch()
    with Session("bench", cam=Ticker(), away=Ticker(opening=f"wait {door}")).running() as lab:
        door.unlink()
        os.kill(lab.status()["nodes"]["away"]["pid"], 9)
        eventually(lambda: lab.status()["nodes"]["away"]["restarts"] == 1)
        assert lab.set(mode="day") == {"cam": {"mode": "day"}}
        door.touch()
        eventually(lambda: lab.status()["nodes"]["away"]["state"] == "running")
        assert lab.away.get("mode") == "day"
        # And again after another restart.
        os.kill(lab.status()["nodes"]["away"]["pid"], 9)
        eventually(lambda: lab.status()["nodes"]["away"]["restarts"] == 2)
        eventually(lambda: lab.status()["nodes"]["away"]["state"] == "running")
        assert lab.away.get("mode") == "day"


def test_what_a_node_that_is_away_would_refuse_is_refused(runtime: Path) -> None:
    with Session("bench", cam=Ticker(), picky=Picky(restart="on-failure")).running() as lab:
        os.kill(lab.status()["nodes"]["picky"]["pid"], 9)
        eventually(lambda: lab.status()["nodes"]["picky"]["state"] != "running")
        with pytest.raises(SettingError, match=r"^picky.mode: found 'too long'"):
            lab.set(mode="too long")
        assert lab.cam.get("mode") == ""


def test_a_follower_may_change_it_itself(runtime: Path) -> None:
    """While its own loop waits for the session's answer, it is asked whether it agrees."""
    with Session("bench", cam=Ticker(), lamp=Lamp(), picky=Picky()).running() as lab:
        assert lab.lamp.switch(mode="auto") == {
            "cam": {"mode": "auto"},
            "lamp": {"mode": "auto"},
            "picky": {"mode": "auto"},
        }
        assert lab.lamp.get("mode") == "auto"
        assert lab.cam.get("mode") == "auto"
        with pytest.raises(SettingError, match=r"picky.mode: found 'too long'"):
            lab.lamp.switch(mode="too long")
        assert lab.lamp.get("mode") == "auto"


def test_changes_by_many_at_once_come_one_after_the_other(runtime: Path) -> None:
    with Session("bench", cam=Ticker(), lamp=Lamp(), picky=Picky()).running() as lab:
        failures: list[BaseException] = []

        def work(name: str) -> None:
            try:
                for i in range(25):
                    told = lab.set(mode=f"{name}{i}")
                    assert {v["mode"] for v in told.values()} == {f"{name}{i}"}
            except BaseException as error:  # noqa: BLE001 - reported by the main thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len({lab[n].get("mode") for n in ("cam", "lamp", "picky")}) == 1
        assert lab.get()["mode"] == lab.cam.get("mode")


def test_a_stopped_follower_is_named_and_the_others_take_it_back(runtime: Path) -> None:
    with Session("bench", cam=Ticker(), lamp=Lamp(hang_timeout=2)).running() as lab:
        lamp = lab.status()["nodes"]["lamp"]["pid"]
        os.kill(lamp, 19)
        # The supervisor is not kept waiting by the one that does not answer; it restarts it.
        answers: list[object] = []

        def change() -> None:
            try:
                answers.append(lab.set(mode="day"))
            except MareyError as error:
                answers.append(error)

        thread = threading.Thread(target=change)
        thread.start()
        eventually(lambda: lab.status()["nodes"]["lamp"]["restarts"] == 1)
        eventually(lambda: lab.status()["nodes"]["lamp"]["state"] == "running")
        thread.join()
        assert len({lab[n].get("mode") for n in ("cam", "lamp")}) == 1
        assert lab.get()["mode"] == lab.cam.get("mode")
