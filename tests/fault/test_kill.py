"""SIGKILL of any process at random moments of a transfer: nothing lost, duplicates bounded by the window."""
import os
import random
import signal
import time

import pytest
from harness import compare, wait, write_lines

LINES, KILLS = 100000, 10
WINDOW = 1024


def transfer(s, tmp_path):
    source, out = tmp_path / "in", s.dir / "out"
    write_lines(source, 0, LINES, 100)
    s.connector("sink", connector="file", role="sink", topic="t", options={"path": str(out), "format": "data"},
                restart={"backoff": "50ms..200ms", "max": "60 in 10m"})
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="file", role="source", topic="t", options={"path": str(source)},
                restart={"backoff": "50ms..200ms", "max": "60 in 10m"})
    s.ask("reload")
    return source, out


def size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def victim(s, who):
    try:
        return {"source": lambda: s.pid("source"), "sink": lambda: s.pid("sink"), "engine": s.engine_pid,
                "broker": s.broker_pid}[who]()
    except OSError:
        return 0


def settle(s, source, out, seconds=90):
    """Until nothing more arrives; the comparison decides what that means."""
    wait(lambda: s.state("source") == "running" and s.state("sink") == "running", seconds, "both running again")
    wait(lambda: size(out) >= size(source), seconds, "as many bytes as were sent")
    quiet = size(out)
    while True:
        time.sleep(1.0)
        if size(out) == quiet:
            return
        quiet = size(out)


@pytest.mark.parametrize("who", ["source", "sink", "engine", "broker"])
def test_kill_one(supervisor, tmp_path, who):
    s = supervisor()
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    source, out = transfer(s, tmp_path)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.01, 0.25))
        pid = wait(lambda: victim(s, who), 30, f"a {who} to kill")
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    settle(s, source, out)
    count = compare(source, out)
    print(who, count)
    assert count.lost == 0
    assert count.wrong <= KILLS		# a line that the sink's death cut off, ended by its successor
    assert count.doubled <= KILLS * 2 * WINDOW
    assert count.inversions == 0


def test_kill_everything_at_once(supervisor, tmp_path):
    s = supervisor()
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    source, out = transfer(s, tmp_path)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 0.3))
        s.kill()
        s.start()
    settle(s, source, out)
    count = compare(source, out)
    print(count)
    assert count.lost == 0
    assert count.wrong <= KILLS
    assert count.doubled <= KILLS * 3 * WINDOW
    assert count.inversions == 0
