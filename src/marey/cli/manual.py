"""`python -m marey.cli.manual` writes the reference page of the command line to stdout."""

from __future__ import annotations

import re

from marey.cli.app import COMMANDS, ENVIRONMENT, EXIT_CODES, build, examples

_LEDGER = """## The ledger as JSON

`run`, `demo` and `ledger` print with `--json` one object:

```json
{
  "session": "bench",
  "seconds": 60.02,
  "streams": {
    "cam": {
      "published": 12004,
      "device_lost": 0,
      "readers": {
        "tracks": {"received": 12004, "lost": 0, "causes": {}}
      }
    }
  },
  "nodes": {"cam": {"state": "stopped", "restarts": 0, "error": ""}},
  "incidents": []
}
```

Streams and readers have more keys than are shown here: rates, latencies in s, what was skipped on
purpose, how far a reader is behind. Readers are nodes of the session. `causes` gives the number
of items lost for each cause; their sum is `lost`. `incidents` lists each loss, each death of a node
and each outage of a stream with its time (Unix, ns). See [losses](../explanation/losses.md).
"""


def manual() -> str:
    """The whole manual as one page of Markdown."""
    text = build().generate_docs()
    text = re.sub(r"## Table of Contents.*?(?=\*\*Commands\*\*)", "", text, flags=re.DOTALL)
    text = re.sub(r"^marey (\w+) \1 ", r"marey \1 ", text, flags=re.MULTILINE)
    head, *sections = re.split(r"^(?=## marey )", text, flags=re.MULTILINE)
    parts = [head.rstrip(), _code(EXIT_CODES), _code(ENVIRONMENT)]
    for command, section in zip(COMMANDS.values(), sections, strict=True):
        parts += [section.rstrip(), _code(examples(command))]
    return "\n\n".join([*parts, _LEDGER])


def _code(text: str) -> str:
    """A heading and indented lines, as a paragraph and a block."""
    title, _, lines = text.partition("\n")
    block = "\n".join(line[2:] for line in lines.splitlines())
    return f"{title}\n\n```text\n{block}\n```"


if __name__ == "__main__":
    print(manual(), end="")
