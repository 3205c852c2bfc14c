"""The live page: a sink that serves it, and what it is made of."""

from marey.sinks.web.sink import Web

__all__ = ["Web"]
