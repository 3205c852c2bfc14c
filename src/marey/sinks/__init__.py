"""Sinks: recorders, the web page, bridges to elsewhere."""

from typing import TYPE_CHECKING, Any

from marey.node.registry import lazy

if TYPE_CHECKING:
    from marey.sinks.recorder import Recorder
    from marey.sinks.web import Web

__all__ = ["Recorder", "Web"]


def __getattr__(name: str) -> Any:
    return lazy(__name__, __all__, name)
