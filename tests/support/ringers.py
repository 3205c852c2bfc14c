"""Programs that write and read streams, for tests with real processes.

Every item says its number in each of its elements, so that a torn one shows.
"""

from __future__ import annotations

WRITER = """
    # folder, slots, lossless: writes as many items as it is told, or for ever when told "run"
    import sys
    import numpy as np
    from marey.errors import StreamError
    from marey.stream import Spec, Stream

    spec = Spec((64, 64), np.dtype("u4"))
    lossless = len(sys.argv) > 3
    stream = Stream(sys.argv[1], "cam", spec, slots=int(sys.argv[2]), lossless=lossless)
    print("open", flush=True)

    def write(timeout=None):
        out = stream.lend(timeout=timeout)
        if out is None:
            raise StreamError(f"no room: {stream.laggard}")
        out[:] = stream.head % 2**32
        stream.publish_one()

    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        try:
            if word == "run":
                while True:
                    write()
            if word == "try":
                write(timeout=0)
            if word == "write":
                for _ in range(int(number)):
                    write()
            if word == "close":
                stream.close()
            print(stream.head, flush=True)
        except StreamError as error:
            print(error, flush=True)
"""

READER = """
    # folder, name, kind, keep: for each line "n" reads that many items, checks each, and answers
    # with their count, the sum of what was lost, how many were torn, and the last seq
    import sys
    import numpy as np
    from marey.errors import StreamClosed
    from marey.stream import Source

    folder, name, kind, keep = sys.argv[1:5]
    source = Source(folder, "cam", reader=name, keep=keep == "keep")
    print("waiting", flush=True)
    source.wait()
    if kind == "latest":
        reader = source.latest()
    elif kind == "every":
        reader = source.every(start="oldest")
    else:
        reader = source.block(int(kind), start="oldest")
    print("attached", flush=True)

    def check(frame):
        seqs = np.arange(frame.seq, frame.seq + (len(frame) if hasattr(frame, "__len__") else 1))
        low = np.atleast_1d(frame.data.min(axis=(-2, -1)))
        high = np.atleast_1d(frame.data.max(axis=(-2, -1)))
        if frame.valid():
            assert (low == seqs % 2**32).all(), (seqs, low)
            assert (high == seqs % 2**32).all(), (seqs, high)

    last = -1
    for line in sys.stdin:
        good = lost = torn = 0
        try:
            while good < int(line):
                frame = reader.read()
                assert frame.seq > last, "never twice, never back"
                assert kind == "latest" or last < 0 or frame.lost.start in (0, last + 1)
                count = len(frame) if hasattr(frame, "__len__") else 1
                assert kind == "latest" or last < 0 or frame.seq == last + 1 + len(frame.lost)
                last = frame.seq + count - 1
                lost += len(frame.lost)
                check(frame)
                if reader.release():
                    good += count
                else:
                    torn += count
        except StreamClosed:
            print("closed", end=" ")
        print(good, lost, torn, last, flush=True)
    reader.close()
"""

NURSERY = """
    # folder, seed, deaths, mean life in s, role, then what the role needs: forks children that do
    # the role's work and kills each after a random while (when told to, where the life is 0)
    import os, random, signal, struct, sys, time
    import numpy as np
    from marey.stream import Source, Spec, Stream

    folder, seed, deaths, life, role = sys.argv[1:6]
    rng = random.Random(int(seed))
    SPECS = [Spec((64, 64), np.dtype("u4")), Spec((32, 64), np.dtype("u4"))]

    def writer(number):
        layouts, lossless = int(sys.argv[6]), sys.argv[7] == "lossless"
        kind = number % layouts
        stream = Stream(folder, "cam", SPECS[kind], slots=8 + 8 * kind, lossless=lossless)
        while True:
            if rng.random() < 0.1:
                n = stream.most // 2
                out = stream.lend(n)
                out[:] = (stream.head + np.arange(n, dtype="u4"))[:, None, None]
                stream.publish(rng.randint(1, n))
            else:
                out = stream.lend()
                out[:] = stream.head % 2**32
                stream.publish_one()

    def reader(number):
        # What it has done with goes into a file: 0 and the seq, or 1 and a range that was lost.
        log = os.open(sys.argv[6], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        source = Source(folder, "cam", reader=sys.argv[7], keep=True)
        reader = source.every(start="oldest")
        while True:
            frame = reader.read()
            if len(frame.lost):
                os.write(log, struct.pack("=QQQ", 1, frame.lost.start, frame.lost.stop))
            low, high = frame.data.min(), frame.data.max()
            if frame.valid():
                assert low == high == frame.seq % 2**32, (low, high, frame.seq)
            if reader.release():
                os.write(log, struct.pack("=QQQ", 0, frame.seq, 0))

    def guest(number):
        source = Source(folder, "cam", reader=f"guest-{number}", keep=False)
        with source.latest() if rng.random() < 0.5 else source.every() as reader:
            for frame in reader:
                if rng.random() < 0.01:
                    break
        while True:
            source.every().close()

    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(deaths)):
        pid = os.fork()
        if pid == 0:
            try:
                {"writer": writer, "reader": reader, "guest": guest}[role](number)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
        if float(life):
            time.sleep(rng.expovariate(1 / float(life)))
        else:
            sys.stdin.readline()  # it lives until we are told
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "a child failed before it was killed"
    print("done", flush=True)
"""
