#!/usr/bin/python3
"""What this project is for, shown on a real log: file -> EventMesh -> file, with processes killed on the way."""
import glob
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import Supervisor, compare, wait  # noqa: E402

LEAST = 100_000


def say(text):
    print(text, flush=True)


def real_log(directory):
    """A log of this machine if it has a large one; else one made of what its packages say."""
    for path in sorted(glob.glob("/var/log/**/*.log", recursive=True), key=lambda p: -os.path.getsize(p)):
        try:
            lines = open(path, "rb").read().splitlines()
        except OSError:
            continue
        if len(lines) >= LEAST:
            return path, lines
        break
    lines = []
    for path in sorted(glob.glob("/var/lib/dpkg/info/*.list")) + sorted(glob.glob("/var/lib/dpkg/info/*.md5sums")):
        package = pathlib.Path(path).stem
        for line in open(path, "rb").read().splitlines():
            lines.append(b"dpkg: " + package.encode() + b": " + line)
    base = list(lines)
    while len(lines) < 3 * LEAST:
        lines += base
    return "the file lists of this machine's packages", lines


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="emsupervisor-demo-"))
    origin, lines = real_log(directory)
    lines = [b"%08d " % i + line for i, line in enumerate(lines[:600_000])]
    source, out = directory / "source.log", directory / "sink.log"
    s = Supervisor(directory / "em")
    say(f"1. a log of {len(lines)} lines, from {origin}; each line gets its number, so that every one can be told apart")
    s.connector("sink", connector="file", role="sink", topic="log", options={"path": str(out), "format": "data"})
    say(f"2. emsupervisord starts in {directory}, with its embedded EventMesh broker, and applies two connectors")
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    source.write_bytes(b"")
    s.connector("source", connector="file", role="source", topic="log", options={"path": str(source)})
    s.emctl("reload")
    s.wait_state("source", "running")
    began = time.monotonic()
    chunk = len(lines) // 12
    with open(source, "ab") as f:
        for part in range(12):
            f.write(b"\n".join(lines[part * chunk:(part + 1) * chunk if part < 11 else len(lines)]) + b"\n")
            f.flush()
            if part == 1:
                say("\n$ emctl status\n" + s.emctl("status").stdout)
                say("$ emctl top --count 1\n" + s.emctl("top", "--count", "1").stdout)
            for number, who, pid in ((3, "the source's process", lambda: s.pid("source")),
                                     (5, "the sink's process", lambda: s.pid("sink")), (7, "the engine", s.engine_pid)):
                if part == number:
                    time.sleep(random.uniform(0.02, 0.1))
                    victim = wait(pid, 10, who)
                    say(f"3. while records flow: kill -9 {victim} ({who})")
                    os.kill(victim, signal.SIGKILL)
                    time.sleep(0.5)
    wait(lambda: os.path.getsize(out) >= os.path.getsize(source) if os.path.exists(out) else False, 120, "the last line")
    seconds = time.monotonic() - began
    time.sleep(1)
    count = compare(source, out)
    say("\n$ emctl status\n" + s.emctl("status").stdout)
    arrived = len(open(out, "rb").read().splitlines())
    say("4. compared, line by line:")
    for name, value in (("lines in", len(lines)), ("lines out", arrived), ("lost", count.lost),
                        ("sent twice after a kill", count.doubled), ("damaged", count.wrong),
                        ("out of order", count.inversions), ("seconds", round(seconds, 1))):
        say(f"   {name:24} {value:>10}")
    s.stop()
    if count.lost:
        say(f"\nlines were LOST; everything is left in {directory}")
        return 1
    shutil.rmtree(directory)
    say("\nnothing was lost.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
