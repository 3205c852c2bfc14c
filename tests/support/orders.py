"""Every order in which a few threads' loads and stores can happen on a weakly ordered machine.

The machine is as weak as ARMv8 (and weaker than x86): an access may happen before those that stand
before it in its thread, unless a fence, an acquire, a release, a dependency or the same address
forbids it. What has happened is seen by all threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Values = dict[str, int]


@dataclass(frozen=True)
class Op:
    """One access or fence.

    Attributes:
        kind: load, store, fetch-and-store, or fence.
        order: of the access or the fence.
        name: the variable, or the register of a load when `into` is empty.
        into: the register of a load.
        value: what is stored, from the thread's registers.
        when: whether a store happens at all, from the thread's registers.
        needs: registers that `value` and `when` look at.
    """

    kind: Literal["load", "store", "swap", "fence"]
    order: Literal["relaxed", "acquire", "release", "full"]
    name: str = ""
    into: str = ""
    value: Callable[[Values], int] = field(default=lambda _: 0)
    when: Callable[[Values], bool] = field(default=lambda _: True)
    needs: tuple[str, ...] = ()


def load(name: str, into: str, order: Literal["relaxed", "acquire"] = "relaxed") -> Op:
    """Load a variable into a register."""
    return Op("load", order, name, into)


def store(
    name: str,
    value: int | Callable[[Values], int],
    order: Literal["relaxed", "release"] = "relaxed",
    when: Callable[[Values], bool] = lambda _: True,
    needs: tuple[str, ...] = (),
) -> Op:
    """Store a number, or what a function makes of the registers that it needs."""
    make = value if callable(value) else lambda _: value
    return Op("store", order, name, "", make, when, needs)


def fence(order: Literal["acquire", "release", "full"] = "full") -> Op:
    """A fence."""
    return Op("fence", order)


def _keeps(first: Op, second: Op) -> bool:
    """Whether the machine lets `second` happen only after `first`, which stands before it."""
    if first.kind == "fence" and second.kind == "fence":
        return True
    if first.kind == "fence":
        return first.order != "release" or second.kind != "load"
    if second.kind == "fence":
        return second.order != "acquire" or first.kind != "store"
    if "full" in (first.order, second.order):
        return True
    if first.order == "acquire" or second.order == "release" or first.name == second.name:
        return True
    return bool(first.into) and first.into in second.needs


class Machine:
    """Threads, and variables that are 0 unless told otherwise."""

    def __init__(self, *threads: list[Op], start: Values | None = None) -> None:
        self.threads = threads
        self.start = start or {}
        self._before = [
            [
                sum(1 << i for i, first in enumerate(ops[:j]) if _keeps(first, second))
                for j, second in enumerate(ops)
            ]
            for ops in threads
        ]

    def endings(self) -> Iterator[tuple[Values, list[Values]]]:
        """The variables and each thread's registers at each possible end."""
        seen = set()
        memory = dict(self.start)
        stack = [(memory, [0] * len(self.threads), [{} for _ in self.threads])]
        while stack:
            memory, done, registers = stack.pop()
            key = (
                tuple(sorted(memory.items())),
                tuple(done),
                tuple(tuple(sorted(r.items())) for r in registers),
            )
            if key in seen:
                continue
            seen.add(key)
            ended = True
            for t, ops in enumerate(self.threads):
                for i, op in enumerate(ops):
                    if done[t] >> i & 1 or self._before[t][i] & ~done[t]:
                        continue
                    ended = False
                    stack.append(_after(op, t, i, memory, done, registers))
            if ended:
                yield memory, registers


def _after(
    op: Op, t: int, i: int, memory: Values, done: list[int], registers: list[Values]
) -> tuple[Values, list[int], list[Values]]:
    mine = dict(registers[t])
    happens = op.when(mine)
    if happens and op.into:
        mine[op.into] = memory.get(op.name, 0)
    if happens and op.kind in ("store", "swap"):
        memory = {**memory, op.name: op.value(mine)}
    done = [*done[:t], done[t] | 1 << i, *done[t + 1 :]]
    return memory, done, [*registers[:t], mine, *registers[t + 1 :]]
