"""What `podspan exits` and `podspan why` say of ends whose spans are made up here and taken in by podspand."""

import json
import os
import secrets
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest

from lib.deaths import MIB, MS, S, Pod, Spool, call, death
from lib.paths import built
from lib.podspan import Podspan
from lib.process import run

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


# ---- why ---------------------------------------------------------------------------------------------------------


def why(node, *arguments):
    """`why --end --json`, as its schema says; kubelet's journal only where a test gives one."""
    if not any(argument.startswith("--journal") for argument in arguments):
        arguments = (*arguments, "--no-journal")
    answer = json.loads(node.cli("why", "--end", "--json", *arguments))
    valid(answer, "why")
    assert "disagrees" not in answer
    return answer


def refused(node, *arguments):
    """Exit code and standard error of a question that has no answer."""
    done = run(built("podspan"), "why", *arguments, *node.options, "--store-dir", node.store, check=False)
    return done.returncode, done.stderr


def evidence(answer, what):
    """The values of one kind of evidence."""
    return [item["value"] for item in answer["evidence"] if item["what"] == what]


def write_journal(folder, lines):
    """A journal with (nanoseconds, program, text) for each line."""
    folder.mkdir()
    text = ""
    for n, (at, program, message) in enumerate(lines):
        fields = {"__REALTIME_TIMESTAMP": at // 1000, "__MONOTONIC_TIMESTAMP": 1000 + n, "_BOOT_ID": "0" * 31 + "1",
                  "_MACHINE_ID": "0" * 31 + "1", "_UID": 0, "_COMM": program, "MESSAGE": message}
        text += "".join(f"{key}={value}\n" for key, value in fields.items()) + "\n"
    subprocess.run(["/lib/systemd/systemd-journal-remote", "-o", folder / "x.journal", "-"], input=text, text=True,
                   check=True, capture_output=True)
    return f"--journal={folder}"


def test_why_names_the_cause_and_what_it_rests_on(node):
    pod, now = Pod("hungry"), time.time_ns()
    node.spool.send(
        death(now - 100 * S, now - 95 * S, "exited", pod, code=1, stop_method="none", attempt=0),
        death(now - 60 * S, now - 56 * S + 100 * MS, "oom-container", pod, code=137, signal="SIGKILL", oom_killed=True,
              attempt=1, oom_scope="container", oom_limit=20 * MIB, oom_program="eater", oom_pid=12,
              oom_rss=int(19.8 * MIB), cpu_throttled_ns=2 * S,
              events=[(now - 58 * S, "oom_kill", {"podspan.oom.scope": "container", "podspan.oom.victim.pid": 11,
                                                  "podspan.oom.victim.program": "child"})]))
    answer = why(node, "hungry")
    assert answer["verdict"] == "oom-container" and answer["pod"]["uid"] == pod.uid
    assert answer["sentence"] == "Killed by the OOM killer: container limit 20 MiB, victim `eater` (19.8 MiB), 4.10 s after start."
    assert answer["facts"]["oom"] == {"ended_container": True, "scope": "container", "limit_bytes": 20 * MIB,
                                      "victim_program": "eater", "victim_pid": 12, "victim_rss_bytes": int(19.8 * MIB)}
    assert ["attempt 0" in value and "exit code 1" in value for value in evidence(answer, "before")] == [True]
    assert "`child` (pid 11" in evidence(answer, "oom-kill")[0]
    assert any("level 2" in text for text in answer["unknown"])
    text = at_80(node, "why", "--end", "--no-journal", "hungry")
    assert " ".join(text[:2]) == answer["sentence"] and text[2].startswith("default/hungry/main (") and not text[3]


def test_a_subject_is_named_in_many_ways(node):
    pods = [Pod("same", "one"), Pod("same", "two"), Pod("nested", "one")]
    now, ids = time.time_ns(), [secrets.token_hex(32) for _ in range(3)]
    node.spool.send(*[death(now - (9 - n) * S, now - (8 - n) * S, "completed", pod, ids[n], code=0, stop_method="none",
                            container_name="only-" + pod.namespace) for n, pod in enumerate(pods)])
    for what, found in (("one/same", 0), (pods[1].uid, 1), (ids[2], 2), (ids[1][:12], 1), (pods[0].sandbox[:13], 0),
                        ("nested", 2), ("only-two", 1)):
        assert why(node, what)["container"]["id"] == ids[found], what
    code, text = refused(node, "same")
    assert code == 1 and "one/same" in text and "two/same" in text
    code, text = refused(node, "only-one")
    assert code == 1 and "one/same" in text and "one/nested" in text
    code, text = refused(node, "nobody")
    assert code == 3 and "podspan status" in text
    node.spool.send(call("RunPodSandbox", now - S, now, Pod("alive")))
    code, text = refused(node, "alive")
    assert code == 3 and "podspan trace" in text
    for arguments in ((), ("a", "b"), ("--end", "--now", "a")):
        assert refused(node, *arguments)[0] == 2


def test_why_a_pod_did_not_start(node):
    """There is no container; the runtime's words are the answer, with how often kubelet tried."""
    pod, now = Pod("unstarted"), time.time_ns()
    node.spool.send(*[call("CreateContainer", now - n * 10 * S, now - n * 10 * S + S, pod, None, "main", status="UNKNOWN",
                           message=CONTAINERD + 'exec: "nope": executable file not found in $PATH') for n in range(1, 4)])
    answer = why(node, "unstarted")
    assert answer["verdict"] == "start-failed" and answer["sentence"].endswith("executable file not found in $PATH")
    assert answer["facts"]["start_failure"]["times"] == 3 and "failed 3 times" in evidence(answer, "call")[0]

    # A container that was created and whose program could not be executed.
    other, container = Pod("unexecuted"), secrets.token_hex(32)
    node.spool.send(death(now - 3 * S, now - 2 * S, "unknown", other, container, missing="status"),
                    call("StartContainer", now - 3 * S, now - 2 * S + 5 * MS, other, container, "main", status="UNKNOWN",
                         message='failed to start containerd task "main": exec: "nope": permission denied'))
    answer = why(node, "unexecuted")
    assert answer["verdict"] == "start-failed" and "permission denied" in answer["sentence"]


def test_kubelet_says_why_it_stopped_a_container(node, tmp_path):
    """A probe by HTTP makes no CRI call: only kubelet's log knows of it."""
    pod, now, container = Pod("http"), time.time_ns(), secrets.token_hex(32)
    node.spool.send(
        death(now - 60 * S, now - 10 * S, "unknown", pod, container, code=137, signal="SIGKILL", missing="stop_reason",
              kill_origin="host", kill_program="runc"),
        call("StopContainer", now - 40 * S, now - 10 * S + 5 * MS, pod, container, "main", grace=30_000))

    def klog(letter, text):
        return f"{letter}1201 10:00:03.123456    4711 kuberuntime_manager.go:1111] {text}"

    named = f'pod="{pod.namespace}/{pod.name}"'
    lines = [
        (now - 50 * S, "kubelet", klog("I", f'"Probe failed" probeType="Liveness" {named} podUID="{pod.uid}" containerName="main"'
                                            ' probeResult="failure" output="Get \\"http://…\\": refused"')),
        (now - 41 * S, "kubelet", klog("I", f'"Message for Container of pod" containerName="main" containerStatusID='
                                            f'{{"Type":"containerd","ID":"{container}"}} {named} containerMessage='
                                            '"Container main failed liveness probe, will be restarted"')),
        (now - 40 * S, "kubelet", klog("I", f'"Killing container with a grace period" {named} podUID="{pod.uid}" '
                                            f'containerName="main" containerID="containerd://{container}" gracePeriod=30')),
        (now - 39 * S, "containerd", f'time="2026-12-01T10:00:03Z" level=warning msg="slow stop of {container}"'),
        (now - 38 * S, "kubelet", klog("I", f'"SyncLoop (PLEG): event for pod" {named}')),
        (now - 37 * S, "kubelet", klog("E", f'"Error of another pod" pod="{pod.namespace}/other"')),
    ]
    answer = why(node, "http", write_journal(tmp_path / "journal", lines))
    assert answer["verdict"] == "probe-killed" and answer["facts"]["stop"]["reason"] == "liveness probe failed"
    assert answer["sentence"].startswith("Killed by kubelet: liveness probe failed; StopContainer with 30 s grace at ")
    told = evidence(answer, "journal")
    assert len(told) == 4 and "Probe failed" in told[0] and "warning" in told[3]

    # Without the journal nobody knows why; nor with one that says it of another container, or a pod's own words.
    assert why(node, "http")["verdict"] == "stop-timeout" and "why kubelet stopped it" in why(node, "http")["unknown"]
    for n, text in enumerate((
            lines[1][2].replace("main", "other").replace(container, "f" * 64),
            klog("I", f'"Probe failed" {named} podUID="{pod.uid}" containerName="main" output="\\"Message for Container of pod\\" '
                      'containerMessage=\\"Container main failed liveness probe\\""'))):
        answer = why(node, "http", write_journal(tmp_path / f"other{n}", [(now - 41 * S, "kubelet", text)]))
        assert answer["verdict"] == "stop-timeout", text


def test_the_last_lines_of_the_log(node, tmp_path):
    pod, now = Pod("chatty"), time.time_ns()
    node.spool.send(death(now - 6 * S, now - 5 * S, "exited", pod, code=1, stop_method="none", attempt=2))
    folder = tmp_path / f"{pod.namespace}_{pod.name}_{pod.uid}" / "main"
    folder.mkdir(parents=True)
    (folder / "2.log").write_text("".join(f"2026-12-01T10:00:{n:02}.000000000Z stdout F line {n} \x1b[31m\n" for n in range(30)))
    answer = why(node, "chatty", "--log", "--log-dir", str(tmp_path))
    assert evidence(answer, "log") == [f"line {n} \x1b[31m" for n in range(20, 30)]
    assert not evidence(why(node, "chatty", "--log-dir", str(tmp_path)), "log")
    text = node.cli("why", "chatty", "--end", "--no-journal", "--log", "--log-dir", tmp_path)
    assert "line 29 \\x1b[31m" in text and "\x1b" not in text
    # A link leads nowhere, and is said to who asked.
    (folder / "2.log").unlink()
    (folder / "2.log").symlink_to("/etc/passwd")
    answer = why(node, "chatty", "--log", "--log-dir", str(tmp_path))
    assert not evidence(answer, "log") and any("own log" in text for text in answer["unknown"])
