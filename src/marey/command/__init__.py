"""Commands: typed messages between the processes of a session."""

from marey.command.ask import Asker, Listener
from marey.command.messages import Answer, Event, Problem, Request, trace_of
from marey.command.serve import (
    Pending,
    Server,
    command_address,
    events_address,
    inbox_address,
)

__all__ = [
    "Answer",
    "Asker",
    "Event",
    "Listener",
    "Pending",
    "Problem",
    "Request",
    "Server",
    "command_address",
    "events_address",
    "inbox_address",
    "trace_of",
]
