"""What `podspan exits` and `podspan why` say of ends whose spans are made up here and taken in by podspand."""

import json
import os
import secrets
import time
from pathlib import Path

import jsonschema
import pytest

from lib.deaths import MIB, MS, S, Pod, Spool, call, death
from lib.podspan import Podspan

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
MINUTE = 60 * S
CONTAINERD = ("failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed:"
              " unable to start container process: ")


@pytest.fixture(scope="module", name="node")
def _node():
    """podspand with an empty store, and its spool. Each test makes pods of its own."""
    with Podspan() as podspan:
        if podspan.agent is None:
            podspan.start_agent()
        podspan.spool = Spool(podspan)
        yield podspan


def valid(document, name):
    """Fails if a document is not as docs/schemas/NAME.json says."""
    jsonschema.validate(document, json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8")),
                        jsonschema.Draft202012Validator)


def exits(node, *arguments, check=True):
    """The lines of `exits --json`, each as its schema says."""
    lines = [json.loads(line) for line in node.cli("exits", "--json", *arguments, check=check).splitlines()]
    for line in lines:
        valid(line, "exits")
    return lines


def at_80(node, *arguments):
    """The text at 80 columns; every line fits."""
    os.environ["COLUMNS"] = "80"
    try:
        lines = node.cli(*arguments).splitlines()
    finally:
        del os.environ["COLUMNS"]
    assert max(map(len, lines)) <= 80, "\n".join(lines)
    return lines


def test_exits_are_told_newest_first(node):
    pod, now = Pod(), time.time_ns()
    node.spool.send(
        death(now - 9 * S, now - 5 * S, "exited", pod, code=7, stop_method="none"),
        death(now - 8 * S, now - 2 * S, "completed", pod, container_name="init", code=0, stop_method="none"),
        death(now - 20 * S, now - 12 * S, "killed", pod, code=137, signal="SIGKILL", kill_origin="host", kill_program="sh",
              kill_pid=4711, kill_uid=0))
    told = exits(node, "--pod", pod.uid)
    assert [(line["verdict"], line["container"]["name"], line["lived_ns"]) for line in told] == [
        ("completed", "init", 6 * S), ("exited", "main", 4 * S), ("killed", "main", 8 * S)]
    assert all(line["schema"] == 1 and line["event"] == "exit" and "disagrees" not in line for line in told)
    assert told[2]["facts"]["kill"] == {"origin": "host", "signal": "SIGKILL", "program": "sh", "pid": 4711, "uid": 0}
    assert told[0]["pod"] == {"uid": pod.uid, "name": pod.name, "namespace": pod.namespace, "sandbox_id": pod.sandbox}

    text = at_80(node, "exits", "--pod", f"{pod.namespace}/{pod.name}")
    assert len(text) == 4
    for line, words in zip(text[1:], ("completed", "exit code 7", "SIGKILL from sh (host)")):
        assert words in line and "x2k4j/" in line


def test_exits_filters(node):
    pod, other, now = Pod("one"), Pod("two"), time.time_ns()
    ids = [secrets.token_hex(32) for _ in range(3)]
    node.spool.send(death(now - 9 * MINUTE, now - 8 * MINUTE, "exited", pod, ids[0], code=7, stop_method="none"),
                    death(now - 7 * MINUTE, now - 6 * MINUTE, "completed", pod, ids[1], code=0, stop_method="none"),
                    death(now - 5 * MINUTE, now - 4 * MINUTE, "exited", other, ids[2], code=1, stop_method="none"))

    def of(*arguments):
        return [line["container"]["id"] for line in exits(node, *arguments, check=False)]

    assert of("--pod", "one") == [ids[1], ids[0]]
    assert of("--pod", pod.sandbox[:12]) == [ids[1], ids[0]]
    assert of("--pod", pod.uid, "--since", "7m") == [ids[1]]
    assert of("--pod", pod.uid, "--until", "7m") == [ids[0]]
    assert of("--pod", pod.uid, "--verdict", "exited") == [ids[0]]
    assert of("--pod", pod.uid, "--verdict", "oom") == []
    assert of("--container", ids[2][:12]) == [ids[2]]
    assert of("--pod", "one", "-n", "1") == [ids[1]]
    assert "no exit found" in node.cli("exits", "--pod", "nobody", check=False) or of("--pod", "nobody") == []


def test_an_unknown_end_is_decided_with_all_facts(node):
    """An emitter that saw a stop cannot know why kubelet asked: a reader can."""
    pod, now = Pod("asked"), time.time_ns()
    container = secrets.token_hex(32)
    node.spool.send(
        death(now - 60 * S, now - 10 * S, "unknown", pod, container, code=137, signal="SIGKILL", missing="stop_reason",
              kill_origin="host", kill_program="runc"),
        call("StopContainer", now - 40 * S, now - 10 * S + 5 * MS, pod, container, "main", grace=30_000))
    told, = exits(node, "--pod", pod.uid)
    assert (told["verdict"], told["emitted"], told["missing"]) == ("stop-timeout", "unknown", ["stop_reason"])
    assert told["facts"]["stop"]["method"] == "StopContainer" and told["facts"]["stop"]["grace_ms"] == 30_000
    assert exits(node, "--pod", pod.uid, "--verdict", "stop-timeout") == [told]


def test_a_failed_probe_before_the_stop(node):
    """ExecSync fails, this container alone is stopped, its next attempt begins in the same sandbox."""
    pod, now = Pod("probed"), time.time_ns()
    container, following = secrets.token_hex(32), secrets.token_hex(32)
    node.spool.send(
        death(now - 60 * S, now - 10 * S, "unknown", pod, container, code=143, signal="SIGTERM", missing="stop_reason",
              kill_origin="host", kill_program="runc"),
        call("ExecSync", now - 12 * S, now - 11 * S, pod, container, "main", status="DEADLINE_EXCEEDED"),
        call("StopContainer", now - 10 * S - 50 * MS, now - 10 * S + 5 * MS, pod, container, "main", grace=30_000))
    assert exits(node, "--pod", pod.uid)[0]["verdict"] == "stopped"
    node.spool.send(call("CreateContainer", now - 9 * S, now - 8 * S, pod, following, "main", attempt=1))
    assert exits(node, "--pod", pod.uid)[0]["verdict"] == "probe-killed"

    # Of a pod that is deleted, the sandbox is stopped as well: a readiness probe that failed before killed nothing.
    deleted, last = Pod("deleted"), secrets.token_hex(32)
    node.spool.send(
        death(now - 60 * S, now - 10 * S, "unknown", deleted, last, code=143, signal="SIGTERM", missing="stop_reason",
              kill_origin="host", kill_program="runc"),
        call("ExecSync", now - 12 * S, now - 11 * S, deleted, last, "main", status="DEADLINE_EXCEEDED"),
        call("StopContainer", now - 10 * S - 50 * MS, now - 10 * S + 5 * MS, deleted, last, "main", grace=30_000),
        call("StopPodSandbox", now - 9 * S, now - 8 * S, deleted))
    assert exits(node, "--pod", deleted.uid)[0]["verdict"] == "stopped"


def test_an_oom_kill_is_an_event_of_its_own(node):
    """Of a child: the container went on. Of the first process: it is the end, too."""
    pod, now = Pod("eater"), time.time_ns()

    def about(pid):
        return {"podspan.oom.scope": "container", "podspan.oom.limit_bytes": 20 * MIB, "podspan.oom.victim.pid": pid,
                "podspan.oom.victim.program": "eater", "podspan.oom.victim.rss_bytes": 19 * MIB}

    node.spool.send(death(
        now - 60 * S, now - 10 * S, "oom-container", pod, code=137, signal="SIGKILL", oom_killed=True, oom_scope="container",
        oom_limit=20 * MIB, oom_program="eater", oom_pid=12, oom_rss=19 * MIB,
        events=[(now - 30 * S, "oom_kill", about(11)), (now - 10 * S, "oom_kill", about(12))]))
    told = exits(node, "--pod", pod.uid)
    assert [(line["event"], line.get("victim_pid"), line.get("ended_container")) for line in told] == [
        ("exit", None, None), ("oom_kill", 12, True), ("oom_kill", 11, False)]
    assert told[2]["limit_bytes"] == 20 * MIB and told[2]["scope"] == "container"
    assert "OOM, container limit 20 MiB" in at_80(node, "exits", "--pod", pod.uid)[1]


def test_failed_starts_are_ends(node):
    """kubelet tries again and again: one line, with how often."""
    pod, now = Pod("broken"), time.time_ns()
    node.spool.send(*[call("CreateContainer", now - n * 10 * S, now - n * 10 * S + S, pod, None, "main", status="UNKNOWN",
                           message=CONTAINERD + 'exec: "nope": executable file not found in $PATH') for n in range(1, 8)])
    told, = exits(node, "--pod", pod.uid, "--verdict", "start-failed")
    assert told["verdict"] == "start-failed" and told["facts"]["start_failure"]["times"] == 7
    assert told["sentence"] == 'Failed to start: exec: "nope": executable file not found in $PATH'
    assert "7 times: start failed" in at_80(node, "exits", "--pod", pod.uid)[1]


def test_copies_of_a_death_are_one(node):
    """The hook's span of the container ends at the deletion, and a batch may hold a copy."""
    pod, now = Pod("twice"), time.time_ns()
    container = secrets.token_hex(32)
    first = death(now - 60 * S, now - 10 * S, "completed", pod, container, code=0, stop_method="none")
    node.spool.send(first, first)
    hook = death(now - 61 * S, now - 2 * S, None, pod, container)
    hook.resource_spans[0].scope_spans[0].spans[0].name = "container"
    node.spool.send(hook)
    told, = exits(node, "--pod", pod.uid)
    assert told["verdict"] == "completed"


def test_names_of_others_are_escaped(node):
    pod, now = Pod("evil\x1b[31m"), time.time_ns()
    node.spool.send(death(now - 6 * S, now - 5 * S, "killed", pod, code=137, signal="SIGKILL", kill_origin="host",
                          kill_program="a\x1b]0;b\x07\u202e", kill_pid=3, kill_uid=0))
    text = "\n".join(at_80(node, "exits", "--pod", pod.uid))
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "\x1b" not in node.cli("exits", "--pod", pod.uid, "--json")


@pytest.mark.parametrize("arguments", [["--since", "soon"], ["--verdict", "murdered"], ["-n", "0"], ["-n", "x"], ["pod"]])
def test_wrong_usage(node, arguments):
    text = node.cli("exits", *arguments, check=False)
    assert text.strip() == ""
