"""The account of a stream: what was made, delivered and lost, read from outside at any time."""

from __future__ import annotations

from typing import Any

import numpy as np

from marey._native import Ring
from marey.stream.spec import UNKNOWN

OVERWRITTEN = "overwritten before it was read"
TORN = "overwritten while in use"
PURGED = "purged"
"""Why a reader that must see every item did not receive one, in words."""

_SAMPLE = 512


def quantiles(buckets: list[int], at: tuple[float, ...] = (0.5, 0.99)) -> list[float | None]:
    """Quantiles of a latency histogram, s; bucket b holds 2^(b/3) to 2^((b+1)/3) us."""
    counts = np.cumsum(buckets)
    if counts[-1] == 0:
        return [None] * len(at)
    found = np.searchsorted(counts, np.multiply(at, counts[-1]))
    return [float(2 ** ((b + 0.5) / 3) * 1e-6) for b in found]


def reader_account(account: dict[str, Any], head: int) -> dict[str, Any]:
    """One reader's account: received, lost and why, how far it is behind."""
    every = account["policy"] == "every"
    counts = {OVERWRITTEN: account["lost"], TORN: account["torn"], PURGED: account["skipped"]}
    causes = {cause: n for cause, n in counts.items() if every and n}
    p50, p99 = quantiles(account["latency"])
    return {
        "policy": account["policy"],
        "start": account["start"],
        "received": account["received"],
        "lost": sum(causes.values()),
        "skipped": 0 if every else account["skipped"] + account["torn"],
        "causes": causes,
        "behind": max(0, head - account["cursor"]),
        "alive": account["alive"],
        "pid": account["pid"],
        "latency": {"p50": p50, "p99": p99},
    }


def stream_account(ring: Ring) -> dict[str, Any]:
    """The account of one stream and all its readers."""
    accounts = ring.accounts()  # before the head: nobody has received what is not published
    facts = ring.facts()
    stamps = ring.stamps(_SAMPLE)
    late = (stamps["published"] - stamps["mono_time"]) / 1e9
    spread = [float(v) for v in np.quantile(late, [0.5, 0.99])] if len(late) else [None, None]
    rate = 0.0
    if len(stamps) > 1 and stamps["published"][-1] > stamps["published"][0]:
        span = (stamps["published"][-1] - stamps["published"][0]) / 1e9
        rate = float((len(stamps) - 1) / span)
    return {
        "published": facts["head"],
        "device_lost": facts["device_lost"],
        "device_repeated": facts["device_repeated"],
        "epoch": facts["epoch"],
        "epochs": facts["epochs"],
        "rate": rate,
        "slots": facts["slots"],
        "latency": {"p50": spread[0], "p99": spread[1]},
        "last_device_frame": None
        if not len(stamps) or stamps["device_frame"][-1] == UNKNOWN
        else int(stamps["device_frame"][-1]),
        "readers": _readers(accounts, facts["head"]),
    }


def _readers(accounts: list[dict[str, Any]], head: int) -> dict[str, Any]:
    readers: dict[str, Any] = {}
    for account in accounts:
        name = account["name"]
        if name in readers:
            name = f"{name}#{account['row']}"
        readers[name] = reader_account(account, head)
    return readers
