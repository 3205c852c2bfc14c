"""What all nodes share: typed settings, actions, a name, a log and a lab."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PrivateAttr

from marey.node.settings import Setting, action
from marey.stream.spec import Spec

if TYPE_CHECKING:
    from marey.lab import Lab


class Node(BaseModel):
    """One process of a session. Its fields are its settings.

    The worker calls `open` once, then the method that gives the node its kind for each item, and
    always `close`, also after an exception. All calls come from one thread.
    """

    model_config = ConfigDict(
        validate_assignment=True,
        extra="forbid",
        ignored_types=(np.dtype, Spec),
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        # A process needs the validators of its own node only, not those of all contracts.
        defer_build=True,
    )

    kind: ClassVar[str] = ""
    """Name under which the node is registered; set by the registry."""

    restart: Literal["on-failure", "never"] = Setting(
        "on-failure",
        apply="start",
        advanced=True,
        description="what the supervisor does when the node dies",
    )
    start_timeout: float = Setting(
        60.0,
        gt=0,
        le=3600,
        unit="s",
        apply="start",
        advanced=True,
        description="time allowed for the node to become ready",
    )
    hang_timeout: float = Setting(
        30.0,
        gt=0,
        le=3600,
        unit="s",
        apply="start",
        advanced=True,
        description="time allowed for one item, command or `close`; a node that takes longer is "
        "taken for hung, killed and started anew",
    )

    _name: str = ""
    _touched: set[str] = PrivateAttr(default_factory=set)  # set by the node itself, not yet told
    _lab: Lab | None = None
    _emit: Callable[[str, np.ndarray], None] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in type(self).model_fields:
            raise AttributeError(
                f"{type(self).__name__}.{name}: is no setting; what a node keeps for itself begins "
                f"with an underscore: self._{name}"
            )
        super().__setattr__(name, value)
        if not name.startswith("_"):
            self._touched.add(name)

    @property
    def name(self) -> str:
        """The node's name in its session; it names its stream, too."""
        return self._name or type(self).__name__

    @property
    def lab(self) -> Lab:
        """Streams and commands of the node's own session."""
        if self._lab is None:
            raise RuntimeError(f"{self.name}: a node has a lab only while its session runs")
        return self._lab

    @property
    def log(self) -> logging.Logger:
        """Log lines written here reach every listener of the session."""
        return logging.getLogger(f"marey.node.{self.name}")

    def open(self) -> None:
        """Acquire what the node needs; a raise stops the start of the session."""

    def close(self) -> None:
        """Release what `open` acquired; always called, also when `open` raised half-way."""

    def changed(self, names: set[str]) -> None:
        """Take over live settings that were just assigned; a raise takes them all back."""

    def also(self) -> dict[str, Spec]:
        """Further streams beside the node's own: `{"truth": spec}` is the stream `<name>.truth`."""
        return {}

    def emit(self, stream: str, rows: np.ndarray[Any, Any]) -> None:
        """Publish an item of a stream named by `also`, with the stamps of the present item.

        Raises:
            KeyError: `also` does not name that stream.
        """
        if self._emit is None:
            raise RuntimeError(f"{self.name}: a node can emit only while its session runs")
        self._emit(stream, rows)


class Consumer(Node):
    """A node that reads streams."""

    _purge: Callable[[], dict[str, int]] | None = None

    @action
    def purge(self) -> dict[str, int]:
        """Pass over what waits to be read, to be at the newest frame again.

        Returns:
            By stream, how many items were passed over: lost, with the cause "purged".
        """
        if self._purge is None:
            raise RuntimeError(f"{self.name}: a node reads streams only while its session runs")
        return self._purge()


class Publisher(Node):
    """A node that writes a stream of its own name."""

    buffer: str = Setting(
        "auto",
        apply="start",
        pattern=r"^(auto|\d+(\.\d+)? ?(s|ms|KiB|MiB|GiB|frames))$",
        description="memory of the stream: '2 s', '512 MiB', '64 frames' or 'auto' "
        "(two seconds, at most 256 MiB)",
        advanced=True,
    )
