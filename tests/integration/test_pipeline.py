"""Records flow from a file through emlocald to a file, whatever the file does meanwhile."""
import json
import os
import shutil
import time

import pytest
from harness import Count, compare, wait, write_lines


def lines(path):
    return open(path, "rb").read().split(b"\n")[:-1] if os.path.exists(path) else []


def pair(s, path, options=None, sink=None):
    out = s.dir / "out"
    s.connector("sink", connector="file", role="sink", topic="t", options={"path": str(out), "format": "data", **(sink or {})})
    s.start()
    s.wait_state("sink", "running")
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="file", role="source", topic="t", options={"path": str(path), **(options or {})})
    s.ask("reload")
    s.wait_state("source", "running")
    return out


def test_every_line_arrives_once_and_in_order(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "in"
    write_lines(source, 0, 50000, 60)
    out = pair(s, source)
    wait(lambda: len(lines(out)) >= 50000, 60, "all lines")
    assert compare(source, out) == Count(0, 0, 0, 0)


def test_a_stop_and_start_goes_on_where_it_was(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "in"
    write_lines(source, 0, 20000)
    out = pair(s, source)
    wait(lambda: len(lines(out)) >= 20000, 60, "all lines")
    s.stop()
    write_lines(source, 20000, 40000)
    s.start()
    wait(lambda: len(lines(out)) >= 40000, 60, "all lines")
    assert compare(source, out) == Count(0, 0, 0, 0)


def test_a_source_that_does_not_follow_is_finished(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "in"
    source.write_bytes(b"one\ntwo\nlast without newline")
    out = s.dir / "out"
    s.connector("sink", connector="file", role="sink", topic="t", options={"path": str(out), "format": "data"})
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="file", role="source", topic="t", options={"path": str(source), "follow": False})
    s.ask("reload")
    s.wait_state("source", "finished")
    wait(lambda: len(lines(out)) == 3, what="three lines")
    assert lines(out) == [b"one", b"two", b"last without newline"]


def test_rotation_by_rename(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "app.log"
    write_lines(source, 0, 1000)
    out = pair(s, source)
    for n in range(5):
        old = open(source, "a")
        os.rename(source, tmp_path / f"app.log.{n}")
        old.write(f"written to the old name {n}\n")
        old.close()
        write_lines(source, 1000 * (n + 1), 1000 * (n + 2))
        time.sleep(0.3)
    wait(lambda: len(lines(out)) >= 6005, 60, "all lines")
    assert sorted(lines(out)) == sorted([b"%010d " % i for i in range(6000)] + [b"written to the old name %d" % n for n in range(5)])


def test_rotation_by_copytruncate(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "app.log"
    source.write_bytes(b"")
    out = pair(s, source)
    for n in range(3):
        write_lines(source, 1000 * n, 1000 * (n + 1))
        wait(lambda: len(lines(out)) >= 1000 * (n + 1), 30, "all lines so far")
        shutil.copy(source, tmp_path / f"copy.{n}")
        os.truncate(source, 0)
        time.sleep(0.2)
    assert lines(out) == [b"%010d " % i for i in range(3000)]


def test_lines_large_empty_and_of_any_bytes(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "in"
    every = bytes(b for b in range(256) if b != 10)
    rows = [b"", b"x", every, "žluťoučký 😀".encode(), b"\xff\xfe invalid", b'{"a": 1}', b"y" * (3 << 20), b"end"]
    source.write_bytes(b"\n".join(rows) + b"\n")
    out = pair(s, source)
    wait(lambda: lines(out)[-1:] == [b"end"], 60, "the last line")
    assert lines(out) == rows


def test_a_line_above_the_limit_stops_the_connector_and_says_where(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "in"
    source.write_bytes(b"good\n" + b"z" * 5000 + b"\nnext\n")
    out = s.dir / "out"
    s.connector("sink", connector="file", role="sink", topic="t", options={"path": str(out), "format": "data"})
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="file", role="source", topic="t", options={"path": str(source), "max.line": 4096})
    s.ask("reload")
    s.wait_state("source", "failed")
    assert "byte 5" in s.status("source")["last_error"]
    s.connector("source", connector="file", role="source", topic="t",
                options={"path": str(source), "max.line": 4096, "on.oversize": "skip"})
    s.ask("reload")
    wait(lambda: lines(out)[-1:] == [b"next"], 30, "the line behind it")
    assert b"z" * 10 not in out.read_bytes()


def test_the_largest_event_fits_and_one_larger_is_a_dead_letter_by_name(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "in"
    rows = [b"v" * ((4 << 20) - 4096), b"w" * (4 << 20), b"end"]
    source.write_bytes(b"\n".join(rows) + b"\n")
    out = pair(s, source)
    wait(lambda: lines(out)[-1:] == [b"end"], 60, "the last line")
    assert lines(out) == [rows[0], rows[2]]
    assert s.status("source")["records"]["dead_lettered"] == 1
    assert "4194304" in s.log.read_text()


def test_a_glob_with_files_that_come_and_go(supervisor, tmp_path):
    s = supervisor()
    (tmp_path / "logs").mkdir()
    out = pair(s, tmp_path / "logs/*.log")
    for n in range(10):
        write_lines(tmp_path / f"logs/{n}.log", n * 100, n * 100 + 100)
        if n % 3 == 0:
            wait(lambda: len(lines(out)) >= (n + 1) * 100, 30, "lines of the new file")
            os.unlink(tmp_path / f"logs/{n}.log")
    wait(lambda: len(lines(out)) >= 1000, 30, "all lines")
    assert sorted(lines(out)) == [b"%010d " % i for i in range(1000)]


def test_generated_records_are_counted_by_discard_with_keys_and_tasks(supervisor):
    s = supervisor()
    s.connector("sink", connector="discard", role="sink", topic="g", tasks=3)
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="generate", role="source", topic="g",
                options={"size": 200, "count": 30000, "keys": 50, "partitions": 7, "content": "json"})
    s.ask("reload")
    s.wait_state("source", "finished", 60)
    wait(lambda: s.status("sink")["records"]["delivered"] == 30000, 30, "all records")


def test_a_sink_that_fails_for_a_while_gets_everything_in_the_end(supervisor):
    s = supervisor()
    s.connector("sink", connector="discard", role="sink", topic="g", options={"fail": "retry", "fail.for": "4s"},
                on_error={"backoff": "50ms..500ms"})
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="generate", role="source", topic="g", options={"count": 5000})
    s.ask("reload")
    wait(lambda: s.status("sink")["records"]["delivered"] == 5000, 60, "all records")
    records = s.status("sink")["records"]
    assert records["retried"] > 0 and records["dead_lettered"] == 0


def test_refused_records_become_dead_letters_and_the_rest_flows(supervisor):
    s = supervisor()
    s.connector("sink", connector="discard", role="sink", topic="g", options={"fail": "reject", "fail.every": 100})
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="generate", role="source", topic="g", options={"count": 5000})
    s.ask("reload")
    wait(lambda: s.status("sink")["records"]["delivered"] == 4950, 60, "what is not refused")
    assert s.status("sink")["records"]["dead_lettered"] == 50


def test_pause_holds_and_resume_lets_flow_and_it_survives_a_restart(supervisor, tmp_path):
    s, source = supervisor(), tmp_path / "in"
    write_lines(source, 0, 100)
    out = pair(s, source)
    wait(lambda: len(lines(out)) == 100, 30, "the first lines")
    s.emctl("pause", "source")
    write_lines(source, 100, 200)
    s.stop()
    s.start()
    s.wait_state("source", "paused")
    time.sleep(0.5)
    assert len(lines(out)) == 100
    s.emctl("resume", "source")
    wait(lambda: len(lines(out)) == 200, 30, "the rest")


@pytest.mark.parametrize("form", ["cloudevents", "eventmesh"])
def test_both_message_formats(supervisor, tmp_path, form):
    s, source = supervisor(), tmp_path / "in"
    rows = ["text", "žluťoučký", '{"json": [1, 2.5, null]}']
    source.write_text("\n".join(rows) + "\n")
    out = s.dir / "out"
    s.connector("sink", connector="file", role="sink", topic="t", options={"path": str(out), "format": "cloudevents"})
    s.start()
    wait(lambda: "listening to" in s.log.read_text(), what="the sink's subscription")
    s.connector("source", connector="file", role="source", topic="t", message_format=form, options={"path": str(source)})
    s.ask("reload")
    wait(lambda: len(lines(out)) == 3, 30, "three events")
    events = [json.loads(line) for line in lines(out)]
    assert [e["data"] for e in events] == rows
    assert all(e["subject"] == str(source) and e["datacontenttype"] == "text/plain" for e in events)
    assert len({e["id"] for e in events}) == 3
