"""The order of loads and stores, tried in every way that a weak machine can see it.

Each protocol of docs/reference/ring-layout.md holds as it is written, and breaks when any one of
its fences is taken out: so each is needed, and this check would notice.
"""

from __future__ import annotations

import pytest

from support.orders import Machine, Op, fence, load, store


def without(ops: list[Op], fence_number: int | None) -> list[Op]:
    """The thread with one of its fences taken out."""
    fences = [i for i, op in enumerate(ops) if op.kind == "fence"]
    if fence_number is None:
        return ops
    return [op for i, op in enumerate(ops) if i != fences[fence_number]]


# ------------------------------------------------------------ pixels


def writing(items: range, slots: int) -> list[Op]:
    ops = []
    for n in items:
        ops += [
            store("begin", n + 1),
            fence(),
            store(f"pixel {n % slots} a", n),
            store(f"pixel {n % slots} b", n),
            store("head", n + 1, "release"),
        ]
    return ops


def reading(item: int, slots: int) -> list[Op]:
    return [
        load("head", "head", "acquire"),
        load(f"pixel {item % slots} a", "a"),
        load(f"pixel {item % slots} b", "b"),
        fence("acquire"),
        load("begin", "begin"),
    ]


def torn(writer: list[Op], reader: list[Op], item: int, slots: int) -> bool:
    start = {"begin": slots, "head": slots}
    start |= {f"pixel {f} {part}": f for f in range(slots) for part in "ab"}
    for _, (_, seen) in Machine(writer, reader, start=start).endings():
        accepted = seen["head"] > item and seen["begin"] <= item + slots
        if accepted and (seen["a"], seen["b"]) != (item, item):
            return True
    return False


@pytest.mark.parametrize(("slots", "item"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)])
def test_nothing_torn_is_accepted(slots: int, item: int) -> None:
    writer, reader = writing(range(slots, slots + 3), slots), reading(item, slots)
    assert not torn(writer, reader, item, slots)
    fences = sum(op.kind == "fence" for op in writer)
    # The fence that matters is that of the item which overwrites the one that is read.
    assert any(torn(without(writer, k), reader, item, slots) for k in range(fences))
    assert torn(writer, without(reader, 0), item, slots)


def test_pixels_are_there_when_the_head_says_so() -> None:
    writer = writing(range(1, 2), 1)
    reader = reading(1, 1)
    assert not torn(writer, reader, 1, 1)
    late = [*writer[:-1], store("head", 2)]
    assert torn(late, reader, 1, 1)
    early = [load("head", "head"), *reader[1:]]
    assert torn(writer, early, 1, 1)


def test_a_writer_that_takes_over_must_not_lower_begin() -> None:
    # The first writer dies after it began item 1 and wrote half of it; the second goes on at the
    # head. The reader looks at item 0 at any moment.
    dies = [store("begin", 2), fence(), store("pixel 0 a", 1)]
    reader = reading(0, 1)
    start = {"begin": 1, "head": 1, "pixel 0 a": 0, "pixel 0 b": 0}
    for lowers in (False, True):
        takes_over = [fence(), *([store("begin", 1)] if lowers else [])]
        found = False
        for _, (_, seen) in Machine([*dies, *takes_over], reader, start=start).endings():
            found |= seen["begin"] <= 1 and (seen["a"], seen["b"]) != (0, 0)
        assert found == lowers


# ------------------------------------------------------------ waking


def publishing() -> list[Op]:
    return [
        store("head", 1, "release"),
        fence(),
        load("sleepers", "flag"),
        Op("swap", "full", "sleepers", "old", when=lambda r: bool(r["flag"]), needs=("flag",)),
        store("wake", 1, "release", lambda r: bool(r.get("old")), ("old", "flag")),
    ]


def going_to_sleep() -> list[Op]:
    return [
        load("wake", "expected", "acquire"),
        store("sleepers", 1),
        fence(),
        load("head", "head", "acquire"),
    ]


def oversleeps(writer: list[Op], reader: list[Op]) -> bool:
    # The kernel compares the word when it puts the reader to sleep, and wakes it when it changes:
    # whoever sleeps on a word that never changes sleeps on.
    return any(
        seen["head"] == 0 and memory.get("wake", 0) == seen["expected"]
        for memory, (_, seen) in Machine(writer, reader).endings()
    )


def test_no_reader_sleeps_on_an_item_that_is_there() -> None:
    assert not oversleeps(publishing(), going_to_sleep())
    assert oversleeps(without(publishing(), 0), going_to_sleep())
    assert oversleeps(publishing(), without(going_to_sleep(), 0))


# ------------------------------------------------------------ lossless streams

SLOTS, HEAD = 2, 2  # a full ring; the writer means to begin item 2, over item 0


def lending() -> list[Op]:
    return [
        store("reserve", HEAD + 1),
        fence(),
        load("reader", "reader"),  # 0: nobody; else its place + 1
        store(
            "begin",
            HEAD + 1,
            when=lambda r: r["reader"] == 0 or r["reader"] - 1 + SLOTS > HEAD,
            needs=("reader",),
        ),
    ]


def attaching() -> list[Op]:
    return [
        store("reader", 1),  # at place 0, so that the writer waits
        fence(),
        load("reserve", "reserve"),
        store("reader", lambda r: max(0, r["reserve"] - SLOTS) + 1, "release", needs=("reserve",)),
    ]


def overwritten(writer: list[Op], reader: list[Op]) -> bool:
    start = {"begin": HEAD, "reserve": HEAD}
    return any(
        memory["begin"] > memory["reader"] - 1 + SLOTS
        for memory, _ in Machine(writer, reader, start=start).endings()
    )


def test_no_reader_attaches_to_what_a_lossless_writer_is_overwriting() -> None:
    assert not overwritten(lending(), attaching())
    assert overwritten(without(lending(), 0), attaching())
    assert overwritten(lending(), without(attaching(), 0))
