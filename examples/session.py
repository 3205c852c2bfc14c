"""The camera, processor and sink beside this file, in a session: `python session.py SECONDS`."""

import sys

import marey
from centre import Centre
from circling import Circling
from csv_file import CsvFile

session = marey.Session(
    "circle",
    cam=Circling(rate=200),
    centre=Centre(source="cam"),
    table=CsvFile(sources=["centre"], path="circle.csv"),
)

if __name__ == "__main__":
    ledger = session.run(float(sys.argv[1]) if len(sys.argv) > 1 else None)
    for name, stream in ledger["streams"].items():
        print(name, "published", stream["published"])
        for reader, account in stream["readers"].items():
            print(" ", reader, "received", account["received"], "lost", account["lost"])
