"""Commands: typed messages between the processes of a session."""

from marey.command.ask import Asker
from marey.command.listen import Line, Listener
from marey.command.messages import Answer, Event, Problem, Request, plain, trace_of
from marey.command.serve import (
    LATER,
    WELCOME,
    Nudge,
    Pending,
    Server,
    command_address,
    events_address,
    inbox_address,
)

__all__ = [
    "LATER",
    "WELCOME",
    "Answer",
    "Asker",
    "Event",
    "Line",
    "Listener",
    "Nudge",
    "Pending",
    "Problem",
    "Request",
    "Server",
    "command_address",
    "events_address",
    "inbox_address",
    "plain",
    "trace_of",
]
