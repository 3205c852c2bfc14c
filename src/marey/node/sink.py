"""The contract of a sink."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from marey.node.base import Consumer
from marey.node.settings import Setting
from marey.stream import Frame


class Sink(Consumer):
    """A node at which streams end: a recorder, a page, a bridge to elsewhere."""

    reads: ClassVar[Literal["every", "latest"]] = "every"
    """Whether the sink must see every item or only the newest."""

    on_demand: ClassVar[bool] = False
    """A sink that reads streams itself, through its lab, is given none by the framework."""

    sources: list[str] = Setting(
        default_factory=list,
        apply="start",
        description="names of the streams to read; none given: every stream of the session",
    )

    def taken(self, name: str) -> int:
        """The first item of the stream `name` that no earlier process of this node has taken.

        Asked once after `open`, so that what a killed process took, but could not settle, counts as
        received and is not given again.
        """
        return 0

    @abstractmethod
    def append(self, name: str, frame: Frame) -> bool | None:
        """Take one item of the stream `name`.

        `frame.lost` is the range of `seq` that was lost just before it. What was taken counts
        only if `frame.valid()` still holds afterwards.

        Returns:
            Whether it was taken intact; None to let the worker ask `frame.valid()`.
        """
