"""The ledger as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from rich.console import Console

from marey.cli.console import table
from marey.cli.words import clock, words
from marey.node.control import plain

_SHOWN = 10  # incidents below a table


def ledger_of_nodes(ledger: dict[str, Any]) -> dict[str, Any]:
    """The ledger with those readers only that are nodes of the session, each one once.

    A node may have several accounts of one stream: a page has one for each browser.
    """
    nodes: Collection[str] = ledger["nodes"]
    streams = {}
    for name, account in ledger["streams"].items():
        readers: dict[str, Any] = {}
        for row, reader in account["readers"].items():
            node = row.partition("#")[0]
            if node in nodes:
                readers[node] = _sum(readers[node], reader) if node in readers else reader
        streams[name] = account | {"readers": readers}
    return ledger | {"streams": streams}


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    counts = {key: one[key] + other[key] for key in ("received", "lost", "skipped", "behind")}
    causes = {
        cause: one["causes"].get(cause, 0) + other["causes"].get(cause, 0)
        for cause in [*one["causes"], *(c for c in other["causes"] if c not in one["causes"])]
    }
    return one | counts | {"causes": causes, "alive": one["alive"] or other["alive"]}


def print_json(value: Any) -> None:
    """Print one JSON object, and nothing else, on stdout."""
    print(json.dumps(plain(value)))


def print_ledger(ledger: dict[str, Any], console: Console) -> None:
    """Print what was made, delivered and lost, and what became of the nodes."""
    streams = table(
        "stream", ">published", ">lost in device", "reader", ">received", ">lost", "cause"
    )
    for name, account in ledger["streams"].items():
        first = [name, f"{account['published']:,}", f"{account['device_lost']:,}"]
        for node, reader in account["readers"].items():
            streams.add_row(
                *first,
                node,
                f"{reader['received']:,}",
                f"{reader['lost']:,}",
                _causes(reader),
                style="bold red" if reader["lost"] else None,
            )
            first = ["", "", ""]
        if first[0]:
            streams.add_row(*first)
    console.print(
        f"\nAfter {ledger['seconds']:.1f} s:" if ledger["seconds"] else "\nBefore the start:"
    )
    console.print(streams)
    for name, node in ledger["nodes"].items():
        if node["restarts"] or node["state"] == "failed":
            times = f"{node['restarts']} × restarted" if node["restarts"] else "failed"
            console.print(f"{name}: {times}: {node['error']}", style="bold red", markup=False)

    incidents = ledger["incidents"]
    if len(incidents) > _SHOWN:
        console.print(f"{len(incidents)} incidents; the last (all: --json):")
    for incident in incidents[-_SHOWN:]:
        text = words(incident["what"], incident)
        console.print(f"{clock(incident['time'])} {incident['node']}: {text}", markup=False)


def _causes(reader: dict[str, Any]) -> str:
    causes = [f"{count:,} {cause}" for cause, count in reader["causes"].items()]
    if reader["skipped"]:
        causes.append(f"{reader['skipped']:,} skipped on purpose")
    if reader["behind"]:
        causes.append(f"{reader['behind']:,} not read yet")
    return ", ".join(causes)
