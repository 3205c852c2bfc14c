"""What goes over the wire: requests, answers and events, as JSON."""

from __future__ import annotations

import time
import traceback
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

from marey import errors

Verb = Literal["describe", "get", "set", "check", "do", "attach", "go", "stop", "status", "report"]


class Message(BaseModel):
    """Anything sent: unknown fields are refused, numbers that JSON lacks become null."""

    model_config = ConfigDict(extra="forbid")


class Request(Message):
    """Asked of a node.

    Attributes:
        id: chosen by the asker, repeated by the answer.
        verb: what is asked.
        name: the action of `do`, the setting of `get`.
        args: arguments of the action, or settings by name.
        asker: the node that asks; empty for anybody else.
    """

    id: int
    verb: Verb
    name: str = ""
    args: dict[str, Any] = Field(default_factory=dict)
    asker: str = ""


class Problem(Message):
    """An error on its way to the asker; `type` is a class of `marey.errors`."""

    type: str
    message: str

    @classmethod
    def of(cls, node: str, error: BaseException) -> Problem:
        """Describe an error of a node; one that is not marey's own is named with its type."""
        if isinstance(error, errors.MareyError):
            return cls(type=type(error).__name__, message=str(error))
        return cls(type="ActionError", message=f"{node}: {type(error).__name__}: {error}")

    def error(self) -> errors.MareyError:
        """The error to raise at the asker."""
        kind = getattr(errors, self.type, None)
        if isinstance(kind, type) and issubclass(kind, errors.MareyError):
            try:
                return kind(self.message)
            except TypeError:  # an error with more arguments than its message
                pass
        return errors.NodeError(self.message)


class Answer(Message):
    """Answered to a request; several `progress` may come before the one with `done`."""

    id: int
    done: bool = True
    value: Any = None
    problem: Problem | None = None


class Event(Message):
    """Something that happened, told to everybody who listens.

    Kinds and their data: `log` (level, text), `setting` (values, seq), `progress` (action,
    fraction, text), `state` (state, and what belongs to it), `error` (text, trace),
    `lost` (stream, reader, first, count, cause), `outage` (stream, seq, last, seconds), `alive`
    (beats). The last event of a session is the state `stopped` of the node `session`.
    """

    kind: Literal["log", "setting", "progress", "state", "error", "lost", "outage", "alive"]
    node: str
    time: int = Field(default_factory=time.time_ns)
    data: dict[str, Any] = Field(default_factory=dict)


def plain(value: Any) -> Any:
    """A value as JSON has it: models as objects, arrays as lists, NaN as None.

    Raises:
        ValueError: it is nothing that can be sent.
    """
    return to_jsonable_python(value, inf_nan_mode="null", fallback=_as_list)


def _as_list(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return value.tolist()
    raise ValueError(f"a {type(value).__name__} is nothing that can be sent")


def trace_of(error: BaseException) -> str:
    """The traceback as text."""
    return "".join(traceback.format_exception(error))
