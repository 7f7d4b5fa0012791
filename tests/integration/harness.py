"""Starts the real programs in a fresh directory, and counts what arrived, line by line."""
import collections
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

PREFIX = pathlib.Path(os.environ["EM_PREFIX"])
SUPERVISOR = PREFIX / "sbin/emsupervisord"
EMCTL = PREFIX / "bin/emctl"
PLUGINS = PREFIX / "libexec/emsupervisor/connectors"


def wait(condition, seconds=30, what="condition"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {seconds} s")


def kill_all_under(directory):
    """SIGKILL to every process that has the directory in its command line (a whole host going down)."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(directory).encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                pass


class Refused(Exception):
    def __init__(self, error):
        super().__init__(error["message"])
        self.error = error


class Supervisor:
    def __init__(self, directory, eventmesh="local", extra=""):
        self.dir = pathlib.Path(directory)
        self.conn = self.dir / "connectors.d"
        self.conn.mkdir(parents=True, exist_ok=True)
        self.file = self.dir / "emsupervisord.yaml"
        self.log = self.dir / "log"
        self.process = None
        mesh = eventmesh if isinstance(eventmesh, str) else json.dumps(eventmesh)
        self.file.write_text(
            f"state_dir: {json.dumps(str(self.dir / 'state'))}\nrun_dir: {json.dumps(str(self.dir / 'run'))}\n"
            f"connectors_dir: {json.dumps(str(self.conn))}\nplugin_dir: {json.dumps(str(PLUGINS))}\n"
            f"eventmesh: {mesh}\n{extra}")

    @property
    def socket(self):
        return str(self.dir / "run/control.sock")

    def connector(self, name, **definition):
        (self.conn / f"{name}.yaml").write_text(json.dumps(definition))

    def start(self):
        self.process = subprocess.Popen([SUPERVISOR, "-c", self.file], stderr=self.log.open("ab"), stdin=subprocess.DEVNULL)
        wait(self.is_up, what="control socket")
        return self

    def is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"emsupervisord ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
        try:
            return bool(self.ask("version"))
        except OSError:
            return False

    def ask(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(self.socket)
            s.sendall(json.dumps({"id": 1, "command": command, "arguments": arguments}).encode() + b"\n")
            answer = json.loads(s.makefile().readline() or "null")
        if answer is None:
            raise OSError("the supervisor closed the connection")
        if not answer["ok"]:
            raise Refused(answer["error"])
        return answer["result"]

    def status(self, name=None):
        result = self.ask("status", **({"name": name} if name else {}))
        return result["connectors"][0] if name else result

    def state(self, name):
        try:
            return self.status(name)["state"]
        except (OSError, Refused):
            return None

    def wait_state(self, name, state, seconds=30):
        wait(lambda: self.state(name) == state, seconds, f"state {state} of {name}")

    def pid(self, name):
        return self.status(name)["tasks"][0]["pid"]

    def engine_pid(self):
        return self.status()["supervisor"]["engine_pid"]

    def broker_pid(self):
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"emlocald" in line and str(self.dir).encode() in line:
                    return int(entry.name)
        return 0

    def emctl(self, *words, check=True):
        done = subprocess.run([EMCTL, "--socket", self.socket, *words], capture_output=True, text=True, timeout=90)
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def stop(self):
        """Orderly; the exit status and that nothing is left behind are checked."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()[-3000:]
        wait(lambda: self.broker_pid() == 0, 10, "end of emlocald")
        text = self.log.read_text()
        assert "panic" not in text and "ERROR: AddressSanitizer" not in text and "runtime error" not in text, text[-5000:]

    def kill(self):
        """As a power cut would, but for the page cache: every process of ours at once."""
        self.process.kill()
        self.process.wait()
        kill_all_under(self.dir)
        wait(lambda: self.broker_pid() == 0, 10, "end of emlocald")


def write_lines(path, first, last, width=0):
    with open(path, "a") as f:
        f.writelines(f"{i:010d} {'x' * width}\n" for i in range(first, last))


Count = collections.namedtuple("Count", "lost doubled wrong inversions")


def compare(source, sink):
    """What became of every line: lost, doubled, never sent; and first arrivals that are out of order."""
    sent = open(source, "rb").read().split(b"\n")[:-1]
    got = open(sink, "rb").read().split(b"\n")[:-1]
    known, seen, last, inversions = {line: i for i, line in enumerate(sent)}, set(), -1, 0
    wrong = 0
    for line in got:
        number = known.get(line)
        if number is None:
            wrong += 1
        elif number not in seen:
            seen.add(number)
            inversions += number < last
            last = max(last, number)
    return Count(len(sent) - len(seen), len(got) - wrong - len(seen), wrong, inversions)
