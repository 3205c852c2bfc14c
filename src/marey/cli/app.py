"""The commands and their manual."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple

from cyclopts import App

import marey
from marey.cli.demo import demo
from marey.cli.doctor import doctor
from marey.cli.events import log
from marey.cli.kinds import kinds
from marey.cli.new import new
from marey.cli.run import run
from marey.cli.sessions import ledger, sessions, stop
from marey.cli.steer import do, get, set_
from marey.cli.top import top

ABOUT = """Live camera acquisition and image processing for experiments that cannot be repeated.

A session is a set of named nodes: cameras, devices, processors and sinks, each a process of its \
own. `marey run` starts one that a TOML file describes; from other terminals it is watched by \
`marey top` and steered by `marey set` and `marey do`. Every frame is accounted for: `marey \
ledger` tells what was made, who received it, and what was lost where and why."""

EXIT_CODES = """Exit codes:
  0    fine
  1    a node failed for good while its session ran (run, demo);
       something needs attention (doctor)
  2    refused: one line on stderr, `marey: error: ...`, names what was found
       and what would be right
  130  ended by Ctrl-C; for run, demo, top and log that is an orderly end: 0"""

ENVIRONMENT = """Environment:
  MAREY_RUNTIME_DIR  where streams and sockets of running sessions live, in
                     place of the user's own folder in /dev/shm"""


class Command(NamedTuple):
    """What a command calls, how it is typed, and examples of its use with what they are for."""

    call: Callable[..., int]
    usage: str
    examples: dict[str, str]


COMMANDS = {
    "run": Command(
        run,
        "FILE [NODE.SETTING=VALUE ...] [OPTIONS]",
        {
            "marey run bench.toml": "until Ctrl-C",
            "marey run bench.toml cam.rate=500 --for 60": "other values; a minute",
            "marey run bench.toml session.name=left": "under another name",
            "marey run bench.toml --for 5 --json | jq .streams.cam": "the ledger, for a script",
        },
    ),
    "demo": Command(
        demo,
        "[beads|video|noise] [OPTIONS]",
        {
            "marey demo": "a hundred simulated beads",
            "marey demo video --file film.mp4": "your own film",
            "marey demo --folder data --for 10": "keep the recording",
        },
    ),
    "top": Command(
        top,
        "[SESSION] [OPTIONS]",
        {
            "marey top": "the only session that runs",
            "marey top bench --interval 0.2": "five pictures a second",
            "marey top bench --once": "print one picture",
        },
    ),
    "list": Command(
        kinds,
        "[KIND] [OPTIONS]",
        {
            "marey list": "all kinds",
            "marey list beads": "settings and actions of one",
            "marey list beads --json | jq .schema": "its JSON schema",
        },
    ),
    "sessions": Command(
        sessions, "[--json]", {"marey sessions": "a table", "marey sessions --json": "for a script"}
    ),
    "get": Command(
        get,
        "SESSION NODE [SETTING] [--json]",
        {
            "marey get bench cam": "all settings of a node",
            "marey get bench cam exposure": "one value",
            "marey get bench session": "settings of the session",
        },
    ),
    "set": Command(
        set_,
        "SESSION NODE SETTING=VALUE ... [--json]",
        {
            "marey set bench cam exposure=0.002 gain=2": "both or none",
            "marey set bench session run='bead 7'": "for all that follow",
        },
    ),
    "do": Command(
        do,
        "SESSION NODE ACTION [NAME=VALUE ...] [OPTIONS]",
        {
            "marey do bench rec start before=5": "and the 5 s before",
            "marey do bench rec stop": "answers with what was kept",
        },
    ),
    "stop": Command(stop, "SESSION", {"marey stop bench": "and wait for its end"}),
    "log": Command(
        log,
        "[SESSION] [--json]",
        {
            "marey log bench": "until it ends",
            "marey log --json | jq 'select(.kind == \"lost\")'": "losses only",
        },
    ),
    "ledger": Command(
        ledger,
        "[SESSION] [--json]",
        {
            "marey ledger bench": "a table",
            "marey ledger bench --json | jq .incidents": "what happened",
        },
    ),
    "new": Command(
        new,
        "camera|processor|sink|device NAME [--into FOLDER]",
        {
            "marey new camera my-camera": "then: pip install -e my-camera",
            "marey new processor focus --into src": "in another folder",
        },
    ),
    "doctor": Command(
        doctor,
        "[--clean]",
        {"marey doctor": "look", "marey doctor --clean": "and remove what is stale"},
    ),
}


def build() -> App:
    """The command line, ready to be called with arguments."""
    epilogue = (
        f"{EXIT_CODES}\n\n{ENVIRONMENT}\n\n`marey COMMAND --help` tells more of each command."
    )
    app = App(
        name="marey",
        help=ABOUT,
        help_format="plaintext",
        help_epilogue=epilogue,
        group_parameters="Options",
        version=marey.__version__,
    )
    for order, (name, command) in enumerate(COMMANDS.items()):
        app.command(
            command.call,
            name=name,
            usage=f"Usage: marey {name} {command.usage}",
            help=description(command),
            help_epilogue=f"{examples(command)}\n\n{EXIT_CODES}",
            sort_key=order,
        )
    return app


def description(command: Command) -> str:
    """What a command does: its docstring as far as its arguments, a line for each paragraph."""
    text, _, _ = (inspect.getdoc(command.call) or "").partition("\n\nArgs:")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def examples(command: Command) -> str:
    """The examples of a command, aligned."""
    width = max(len(line) for line in command.examples)
    lines = [f"  {line:{width}}  {meaning}" for line, meaning in command.examples.items()]
    return "\n".join(["Examples:", *lines])
