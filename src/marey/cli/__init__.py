"""The command line: `marey run`, `marey top`, `marey set` and their like."""

from __future__ import annotations

import os
import sys

from marey.errors import MareyError, NodeFailed

__all__ = ["main"]

FINE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; the last one is what shells expect of Ctrl-C."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: what stands behind `marey`; None for those of this process.
    """
    from cyclopts import CycloptsError

    from marey.cli.app import build

    try:
        code = build()(
            sys.argv[1:] if arguments is None else arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except NodeFailed as error:
        _complain(error)
        return FAILED
    except (MareyError, CycloptsError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            return _nobody_reads()
        _complain(error)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code if isinstance(code, int) else FINE


def _complain(error: Exception) -> None:
    """Say what is wrong on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"marey: error: {text}", file=sys.stderr)


def _nobody_reads() -> int:
    """End quietly when the reader of a pipe, such as `head`, has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
