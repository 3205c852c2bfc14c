"""Whether a ledger balances, and a recording says the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

from marey.recording import Recording

Ledger = dict[str, Any]


def check_balance(ledger: Ledger) -> None:
    """Every item was received or lost by each reader that must see it, each loss with a cause."""
    told: Counter[tuple[str, str]] = Counter()
    for incident in ledger["incidents"]:
        if incident["what"] == "lost":
            assert incident["cause"]
            told[incident["stream"], incident["reader"]] += incident["count"]
    for stream, facts in ledger["streams"].items():
        assert facts["device_lost"] == told[stream, ""], stream
        for reader, account in facts["readers"].items():
            if account["policy"] == "every":
                settled = account["received"] + account["lost"]
                assert settled == facts["published"] - account["start"], (stream, reader)
                assert account["lost"] == sum(account["causes"].values()), (stream, reader)
                assert account["lost"] == told[stream, reader], (stream, reader)


def check_recording(recording: Recording, ledger: Ledger, recorder: str) -> None:
    """Each published item is recorded, or missing with a cause, as the recorder's account says."""
    assert recording.complete
    for stream in recording.streams:
        facts, kept = ledger["streams"][stream], recording[stream]
        account = facts["readers"][recorder]
        assert all(gap.cause for gap in kept.gaps)
        missing = [seq for gap in kept.gaps for seq in gap.lost]
        assert len(kept) == account["received"], stream
        assert sorted([*kept.stamps["seq"].tolist(), *missing]) == list(range(facts["published"]))
