"""The one tree of errors: everything that marey raises on purpose is a `MareyError`."""

from __future__ import annotations

from typing import Any


class MareyError(Exception):
    """Anything that marey reports to its user."""


class StreamError(MareyError):
    """A stream cannot be created, attached to, written or read."""


class StreamMissing(StreamError):
    """No stream of that name exists (yet)."""


class StreamClosed(StreamError):
    """The stream's writer has ended in order and everything it published has been read."""


class StreamDamaged(StreamError):
    """The segment is foreign, of another layout version, or holds impossible numbers."""


class StreamTooLarge(StreamError):
    """The ring that was asked for does not fit into memory, or an item does not fit its slot."""


class NodeError(MareyError):
    """A node failed; the message begins with the node's name."""


class NodeMissing(NodeError):
    """The session has no node of that name, or no such kind is registered."""


class DriverMissing(NodeError):
    """A node needs an optional library; the message says how to install it."""


class SettingError(NodeError):
    """A setting was refused: names node, field, what was found and what would be right."""


class ActionError(NodeError):
    """An action does not exist, was called wrongly, or failed."""


class NodeFailed(NodeError):
    """A node failed for good while its session ran; the others went on to an orderly end.

    Attributes:
        ledger: the account of every frame, as `Session.run` returns it.
    """

    def __init__(self, message: str, ledger: dict[str, Any]) -> None:
        super().__init__(message)
        self.ledger = ledger


class NoAnswer(NodeError):
    """A node did not answer a command within the time allowed."""


class SessionError(MareyError):
    """A session cannot be described, started, found or stopped."""


class TableError(MareyError):
    """A look-up table cannot be read, or its numbers cannot be one."""


class RecordingError(MareyError):
    """A recording cannot be written or read."""
