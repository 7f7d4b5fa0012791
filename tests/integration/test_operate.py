"""What operators do: mistakes in files, reload, emctl, offsets, a second supervisor."""
import json
import subprocess
import time

import pytest
from harness import SUPERVISOR, Refused, wait

GOOD = "connector: file\nrole: source\ntopic: t\noptions: {path: /nowhere}\n"

MISTAKES = [  # text, where, what the message says
    ("connector: file\nrole: sauce\ntopic: t\n", ":2:1:", "one of source, sink"),
    ("connector: file\nrole: source\ntpoic: t\n", ":3:1:", 'did you mean "topic"'),
    ("connector: file\nrole: source\n", ":1:1:", "topic is required"),
    ("connector: file\nrole: source\ntopic: t\ntasks: many\n", ":4:1:", "whole number"),
    ("connector: file\nrole: source\ntopic: t\ntasks: 0\n", ":4:1:", "allowed are 1 to 256"),
    ("connector: file\nrole: source\ntopic: t\ntopic: u\n", ":4:1:", "given twice"),
    ("connector: file\nrole: source\ntopic: [\n", ":4:", ""),
    ("connector: nofile\nrole: source\ntopic: t\n", ":1:1:", "not installed, there are:"),
    ("connector: file\nrole: source\ntopic: t\ngroup: g\n", ":4:1:", "for sinks only"),
    ("connector: ../file\nrole: source\ntopic: t\n", ":1:1:", "not a path"),
    (GOOD.replace("path", "pth"), ":4:11:", 'did you mean "path"'),
    ("connector: file\nrole: source\ntopic: t\n", ":1:1:", "options.path is required"),
    ("connector: file\nrole: source\ntopic: t\noptions:\n  path: /x\n  follow: yes\n", ":6:3:", "YAML 1.2"),
    ("connector: file\nrole: source\ntopic: t\noptions:\n  path: /x\n  max.line: big\n", ":6:3:", "4096, 64K or 4M"),
    ("connector: file\nrole: sink\ntopic: t\noptions:\n  path: /x\n  follow: true\n", ":6:3:", "not for this role"),
    (GOOD + "on_error: {backoff: 5}\n", ":5:12:", "a string"),
    (GOOD + "on_error: {backoff: fast}\n", ":5:12:", "200ms..30s"),
    (GOOD + "restart: {max: often}\n", ":5:11:", "10 in 10m"),
    (GOOD + "limits: {memroy: 1M}\n", ":5:10:", 'did you mean "memory"'),
    (GOOD + "window: 5\n", ":5:1:", "mapping"),
    (GOOD + "x: &a 1\n", ":5:1:", "unknown"),
    ("- a\n- b\n", ":1:1:", "mapping"),
    (GOOD + "---\nmore: 1\n", ":5:1:", "second document"),
    ("connector: file\n\trole: x\n", ":2:", ""),
]


@pytest.mark.parametrize("text,where,what", MISTAKES)
def test_a_mistake_is_named_with_file_line_and_column(supervisor, text, where, what):
    s = supervisor()
    path = s.conn / "one.yaml"
    path.write_text(text)
    done = subprocess.run([SUPERVISOR, "-c", s.file, "--check", path], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{path}{where}" in done.stderr and what in done.stderr, done.stderr


def test_a_good_file_is_accepted(supervisor):
    s = supervisor()
    (s.conn / "one.yaml").write_text(GOOD)
    subprocess.run([SUPERVISOR, "-c", s.file, "--check", s.conn / "one.yaml"], check=True)


def test_a_bad_configuration_ends_at_once_and_says_why(supervisor):
    s = supervisor(extra="evntmesh: x\n")
    done = subprocess.run([SUPERVISOR, "-c", s.file], capture_output=True, text=True, timeout=20)
    assert done.returncode == 78 and 'did you mean "eventmesh"' in done.stderr


def test_a_bad_file_at_reload_changes_nothing(supervisor, tmp_path):
    s = supervisor()
    s.connector("one", connector="file", role="source", topic="t", options={"path": str(tmp_path / "in")})
    s.start()
    s.wait_state("one", "running")
    pid = s.pid("one")
    (s.conn / "one.yaml").write_text("connector: file\nrole: source\ntpoic: t\n")
    with pytest.raises(Refused, match="did you mean"):
        s.ask("reload")
    assert s.pid("one") == pid and s.state("one") == "running"


def test_reload_touches_only_what_changed(supervisor, tmp_path):
    s = supervisor()
    for name in "abc":
        s.connector(name, connector="file", role="source", topic=name, options={"path": str(tmp_path / name)})
    s.start()
    for name in "abc":
        s.wait_state(name, "running")
    pids = {name: s.pid(name) for name in "abc"}
    s.connector("b", connector="file", role="source", topic="other", options={"path": str(tmp_path / "b")})
    (s.conn / "c.yaml").unlink()
    s.connector("d", connector="discard", role="sink", topic="a")
    result = s.ask("reload")
    assert (result["added"], result["changed"], result["removed"], result["unchanged"]) == (["d"], ["b"], ["c"], 1)
    wait(lambda: s.state("b") == "running" and s.state("d") == "running" and s.state("c") is None, 30, "the new state")
    assert s.pid("a") == pids["a"] and s.pid("b") != pids["b"]


def test_emctl_exit_codes_and_words(supervisor, tmp_path):
    s = supervisor()
    assert s.emctl("status", check=False).returncode == 3
    assert s.emctl("stauts", check=False).returncode == 2
    s.start()
    missing = s.emctl("start", "nobody", check=False)
    assert missing.returncode == 1 and 'no connector "nobody"' in missing.stderr
    path = tmp_path / "made.yaml"
    path.write_text(f"connector: file\nrole: source\ntopic: t\noptions: {{path: {tmp_path}/in}}\n")
    assert "added" in s.emctl("apply", str(path)).stdout
    s.wait_state("made", "running")
    status = json.loads(s.emctl("--json", "status").stdout)
    assert {"version", "pid", "uptime_s", "eventmesh"} <= set(status["supervisor"])
    assert set(status["connectors"][0]["records"]) == {"received", "delivered", "retried", "dead_lettered", "in_flight"}
    s.emctl("stop", "made")
    assert s.state("made") == "stopped"
    s.stop()
    s.start()
    time.sleep(0.5)
    assert s.state("made") == "stopped"		# what an operator did survives
    s.emctl("start", "made")
    assert "running" in s.emctl("list").stdout
    assert "running" in s.emctl("logs", "made").stdout
    assert "max.line" in s.emctl("connectors", "file").stdout
    s.emctl("delete", "made")
    wait(lambda: s.state("made") is None, 10, "its end")


def test_offsets_are_shown_and_changed_only_at_rest(supervisor, tmp_path):
    s = supervisor()
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"one\ntwo\n")
    s.connector("sink", connector="file", role="sink", topic="t", options={"path": str(out), "format": "data"})
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="file", role="source", topic="t", options={"path": str(source)})
    s.ask("reload")
    wait(lambda: out.exists() and out.read_bytes() == b"one\ntwo\n", 30, "both lines")
    wait(lambda: [o["offset"].split("-")[0] for o in s.ask("offsets.show", name="source")["offsets"]] == ["8"], 10, "offset 8")
    refused = s.emctl("offsets", "reset", "source", check=False)
    assert refused.returncode == 1 and "only when it is stopped" in refused.stderr
    s.emctl("stop", "source")
    partition = s.ask("offsets.show", name="source")["offsets"][0]["partition"]
    s.emctl("offsets", "set", "source", partition, "4")
    s.emctl("start", "source")
    wait(lambda: out.read_bytes() == b"one\ntwo\ntwo\n", 30, "the second line again")


def test_a_second_supervisor_on_the_same_state_is_refused_by_name(supervisor):
    s = supervisor()
    s.start()
    done = subprocess.run([SUPERVISOR, "-c", s.file], capture_output=True, text=True, timeout=20)
    assert done.returncode == 78 and "another supervisor (pid" in done.stderr
    assert s.ask("version")


def test_a_connector_that_cannot_work_fails_with_the_reason_and_leaves_others_alone(supervisor, tmp_path):
    s = supervisor()
    s.connector("bad", connector="file", role="sink", topic="t", options={"path": "/nonexistent/dir/file", "format": "data"},
                restart={"backoff": "10ms..20ms", "max": "3 in 1m"})
    s.connector("good", connector="file", role="source", topic="t", options={"path": str(tmp_path / "in")})
    s.start()
    s.wait_state("bad", "failed")
    assert "No such file or directory" in s.status("bad")["last_error"]
    assert s.state("good") == "running"


def test_secrets_come_from_the_environment_and_are_not_shown(supervisor, tmp_path, monkeypatch):
    monkeypatch.setenv("EM_TEST_PATH", str(tmp_path / "secret-place"))
    s = supervisor()
    s.connector("one", connector="file", role="source", topic="t", options={"path": "${env:EM_TEST_PATH}"})
    s.connector("two", connector="file", role="source", topic="t", options={"path": "${env:EM_NOT_SET}"})
    s.start()
    s.wait_state("one", "running")
    s.wait_state("two", "failed")
    assert "EM_NOT_SET is not set" in s.status("two")["last_error"]
    assert "secret-place" not in json.dumps(s.ask("describe", name="one"))
