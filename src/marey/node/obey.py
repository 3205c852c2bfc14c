"""How a worker obeys what it was asked: settings, actions, and questions about the node."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from marey.command import LATER, Pending, Request
from marey.errors import ActionError, MareyError, SettingError
from marey.node import control
from marey.node.base import Node
from marey.node.steps import PATIENCE, Step, Tell

_PROGRESS = 0.05  # s between two signs of progress of one action
_TOUCHED = 0.1  # s between two tellings of settings that a node changes while frames go on
_SIGN = 1.0  # s between two signs that an action which tells no progress is under way
_ADVANCE = 0.01  # s between two steps of a long action while no frames come


@dataclass
class _Long:
    """An action under way."""

    pending: Pending
    action: Generator[Any, None, Any]
    told: float = field(default=-1.0)


class Broken(Exception):
    """The node could not return to its former settings: it cannot go on. The cause says why."""


class Obedience:
    """Obeys requests in the node's own loop, between two items.

    Args:
        node: the node.
        step: its part of the loop.
        tell: reports events.
        tell_error: reports an error that is not only the asker's.
    """

    def __init__(
        self, node: Node, step: Step, tell: Tell, tell_error: Callable[[BaseException], None]
    ) -> None:
        self.opened = False
        """Whether the node's streams have been created."""
        self.long: dict[str, _Long] = {}
        self.touched = node._touched
        """Settings that the node changed by itself, of which nobody was told yet."""
        fields = type(node).model_fields
        self._readonly = {name for name in fields if control.extra(fields[name])["readonly"]}
        self._touched_at = -_TOUCHED
        self._node = node
        self._step = step
        self._tell = tell
        self._tell_error = tell_error

    def at_once(self, request: Request, waiting: str) -> Any:
        """What can be answered without waiting for the loop; called by another thread.

        Two nodes that ask for each other's settings do not wait for each other; two that call
        each other's actions would, so the second is refused.

        Args:
            request: what is asked.
            waiting: the node for whose answer the loop itself is waiting.

        Raises:
            ActionError: the loop is waiting for the very node that asks.
        """
        match request.verb:
            case "describe":
                return control.describe(self._node) | {"streams": list(self._step.streams)}
            case "get":
                return self._get(request.name)
            case "check":
                control.candidate(self._node, request.args)
                return None
            case "set" | "do" if request.asker and request.asker == waiting:
                raise ActionError(
                    f"{self._node.name}: is itself waiting for an answer of '{waiting}', and would "
                    f"wait for ever"
                )
        return LATER

    def obey(self, pending: Pending) -> None:
        """Do what is asked and answer it.

        Raises:
            BaseException: the node cannot go on.
        """
        name, request = self._node.name, pending.request
        try:
            match request.verb:
                case "set":
                    pending.answer(self._set(request.args))
                case "do":
                    self._do(pending)
                case "describe" | "get" | "check":  # it came while the node was opening
                    pending.answer(self.at_once(request, waiting=""))
                case other:
                    raise ActionError(f"{name}: '{other}' is not expected now")
        except Broken as broken:
            cause = broken.__cause__ or broken
            pending.fail(name, cause)
            raise cause from None
        except MareyError as error:
            pending.fail(name, error)
        except Exception as error:  # noqa: BLE001 - reported to the asker and to all listeners
            pending.fail(name, error)
            self._tell_error(error)

    def advance(self) -> None:
        """Take each long action one step further."""
        for name in list(self.long):
            self._advance(name, self.long[name])
        self._step.patience = _ADVANCE if self.long else PATIENCE

    def tell_touched(self, now: bool = True) -> None:
        """Tell of settings that the node changed by itself: the next start must know them, too.

        Args:
            now: False where they may change with every frame, and are told now and then; what
                the device tells, along with something else.
        """
        recent = time.monotonic() - self._touched_at < _TOUCHED
        if not now and (recent or self.touched <= self._readonly):
            return
        self._touched_at = time.monotonic()
        names = set(self.touched)  # taken first: another thread of the node may add to them
        self.touched.difference_update(names)
        self._tell_set(names)

    def close(self) -> None:
        """Break off what is under way."""
        for long in self.long.values():
            long.pending.fail(self._node.name, ActionError(f"{self._node.name}: has stopped"))
        actions = [long.action for long in self.long.values()]
        self.long.clear()
        for action in actions:
            action.close()

    # ------------------------------------------------------------ settings

    def _get(self, name: str) -> Any:
        values = control.settings_of(self._node)
        if not name:
            return values
        if name not in values:
            raise SettingError(f"{self._node.name}.{name}: {control.unknown(name, values)}")
        return values[name]

    def _set(self, changes: dict[str, Any]) -> dict[str, Any]:
        node = self._node
        wanted, names = control.candidate(node, changes)
        if names:
            fields = type(node).model_fields
            if any(control.extra(fields[name])["apply"] == "reopen" for name in names):
                self._reopen(wanted, names)
            else:
                self._change(wanted, names)
            self._tell_set(names)
        return {name: control.plain(getattr(node, name)) for name in changes}

    def _change(self, wanted: Node, names: set[str]) -> None:
        node = self._node
        before = node.model_copy()
        control.assign(node, wanted, names)
        try:
            node.changed(names)
        except Exception as error:
            control.assign(node, before, names)
            try:
                node.changed(names)
            except Exception as second:
                raise Broken from second
            raise self._refusal(error) from error

    def _reopen(self, wanted: Node, names: set[str]) -> None:
        node = self._node
        before = node.model_copy()
        try:
            node.close()
            control.assign(node, wanted, names)
            self._open()
        except Exception as error:
            control.assign(node, before, names)
            try:
                node.close()  # what a failed open left half-way
                self._open()
            except Exception as second:
                raise Broken from second
            raise self._refusal(error) from error

    def _open(self) -> None:
        self._node.open()
        if self.opened:
            self._step.open()

    def _refusal(self, error: Exception) -> MareyError:
        if isinstance(error, MareyError):
            return error
        return SettingError(f"{self._node.name}: {type(error).__name__}: {error}")

    def _tell_set(self, names: set[str]) -> None:
        values = {name: control.plain(getattr(self._node, name)) for name in sorted(names)}
        self._tell("setting", values=values, seq=self._step.seq)

    # ------------------------------------------------------------ actions

    def _do(self, pending: Pending) -> None:
        name = pending.request.name
        if name in self.long:
            raise ActionError(f"{self._node.name}.{name}(): is running already")
        try:
            value = control.call(self._node, name, pending.request.args)
        finally:
            if self.touched:
                self.tell_touched()
        if control.is_long(value):
            self.long[name] = _Long(pending, value)
        else:
            pending.answer(control.plain(value))

    def _advance(self, name: str, long: _Long) -> None:
        try:
            progress = next(long.action)
            now = time.monotonic()
            due = _PROGRESS if progress is not None else _SIGN
            if now - long.told >= due:
                long.told = now
                self._tell_progress(name, long.pending, progress)
        except StopIteration as end:
            del self.long[name]
            self._answer(long.pending, end.value)
        except Exception as error:  # noqa: BLE001 - reported to the asker and to all listeners
            del self.long[name]
            long.action.close()
            long.pending.fail(self._node.name, error)
            if not isinstance(error, MareyError):
                self._tell_error(error)

    def _answer(self, pending: Pending, value: Any) -> None:
        try:
            pending.answer(control.plain(value))
        except ValueError as error:
            pending.fail(self._node.name, error)

    def _tell_progress(self, name: str, pending: Pending, progress: Any) -> None:
        if progress is None:  # nothing to report, but the asker must not give up
            pending.progress(None)
            return
        fraction, text = progress if isinstance(progress, tuple) else (progress, "")
        fraction, text = float(fraction), str(text)
        pending.progress([fraction, text])
        self._tell("progress", action=name, fraction=fraction, text=text)
