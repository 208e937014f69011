"""`podspan why POD --start`: where a start's time went, from stores built by their written contract (docs/store.md)."""

import json
from pathlib import Path

import jsonschema
import pytest

from test_cli import MS, POD, T0, Span, Store, on_terminal, plain, podspan, podspan_json

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "schemas" / "why-start.json").read_text())
RUNTIME = "runtime.v1.RuntimeService/"
PULL = "runtime.v1.ImageService/PullImage"


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    yield store
    store.db.close()


def a_start(store, n=0, pod=POD, at_ms=0, pull_ms=2000, trace=None):
    """A start of one container: 100 ms of sandbox with 60 of CNI, a pull, create with a hook, start."""
    def span(i, name, start, length, **more):
        return Span(n * 100 + i, name, at_ms + start, length, pod=pod, trace=trace or bytes(15) + bytes([n + 1]), **more)

    store.add(
        span(1, RUNTIME + "RunPodSandbox", 0, 100, attributes={"podspan.pod.wait_ms": 900}),
        span(2, PULL, 110, pull_ms, attributes={"container.image.name": "docker.io/web:1"}),
        span(3, RUNTIME + "CreateContainer", 120 + pull_ms, 80, container="web"),
        span(4, RUNTIME + "StartContainer", 210 + pull_ms, 40, container="web"))
    store.add(
        span(5, "cni bridge ADD", 20, 60, parent=n * 100 + 1, service="podspan-watch", kind=1),
        span(6, "cni host-local ADD", 30, 45, parent=n * 100 + 5, service="podspan-watch", kind=1),
        span(7, "runc create", 125 + pull_ms, 70, parent=n * 100 + 3, service="podspan-watch", kind=1, container="web"),
        span(8, "slow-hook", 140 + pull_ms, 50, parent=n * 100 + 7, service="podspan-watch", kind=1, container="web",
             attributes={"oci.hook.stage": "createRuntime"}))


def ask(tmp_path, *args):
    answer = podspan_json(tmp_path, "why", *args)
    jsonschema.validate(answer, SCHEMA)
    return answer


def part(answer, kind):
    return [p for p in answer["parts"] if p["kind"] == kind]


def test_parts_sum_to_the_wall_time(tmp_path, store):
    a_start(store)
    answer = ask(tmp_path, "web-7d4b9", "--start")
    assert (answer["schema"], answer["question"], answer["complete"], answer["attempts"]) == (1, "start", True, 1)
    assert answer["pod"] == {"uid": "uid-web", "name": "web-7d4b9", "namespace": "default"}
    assert answer["duration_ns"] == (900 + 2250) * MS
    assert sum(p["duration_ns"] for p in answer["parts"]) == answer["duration_ns"]
    assert [(p["what"], p["duration_ns"]) for p in part(answer, "pull")] == [("docker.io/web:1", 2000 * MS)]
    assert part(answer, "before_first_call")[0]["duration_ns"] == 900 * MS
    cni = part(answer, "cni")[0]
    assert (cni["what"], cni["duration_ns"], cni["detail"]) == (
        "bridge", 60 * MS, {"what": "host-local", "duration_ns": 45 * MS})
    assert [(p["what"], p["duration_ns"]) for p in part(answer, "hook")] == [("slow-hook (createRuntime)", 50 * MS)]
    assert answer["sentence"].startswith(
        "Started in 3.15 s: 2.00 s pulling image docker.io/web:1; 900 ms before the first call")
    assert any("too few other starts" in u for u in answer["unknown"])
    # Also by its UID, the begin of it, and with the namespace; and nothing of it ended, so this is what why answers.
    for what in (["uid-web", "--start"], ["default/web-7d4b9", "--start"], ["web-7d4b9"]):
        assert ask(tmp_path, *what)["sentence"] == answer["sentence"]


def test_rank_and_what_is_unusual(tmp_path, store):
    for n in range(1, 11):
        a_start(store, n, (f"uid-{n}", f"other-{n}", "default"), at_ms=-n * 60_000, pull_ms=100 + n)
    a_start(store)
    answer = ask(tmp_path, "web-7d4b9", "--start")
    assert answer["rank"] == {"starts": 10, "faster": 10}
    assert "Slower than 100 % of this node's 10 starts." in answer["sentence"]
    assert [(u["method"], u["duration_ns"], u["others"]) for u in answer["unusual"]] == [("PullImage", 2000 * MS, 10)]
    assert ask(tmp_path, "other-5", "--start")["unusual"] == []


def test_waited_for_another_pull(tmp_path, store):
    store.add(Span(1, RUNTIME + "RunPodSandbox", 0, 100, pod=POD),
              Span(2, PULL, 8004, 100, pod=POD, attributes={"container.image.name": "b"}),
              Span(3, RUNTIME + "CreateContainer", 8110, 50, pod=POD, container="web"),
              Span(4, RUNTIME + "StartContainer", 8170, 50, pod=POD, container="web"),
              Span(5, PULL, 50, 7950, pod=("uid-db", "db-0", "prod"), attributes={"container.image.name": "a"}))
    answer = ask(tmp_path, "web-7d4b9", "--start")
    assert [(p["what"], p["duration_ns"]) for p in part(answer, "pull_queue")] == [("prod/db-0", 7904 * MS)]
    assert "waiting for the image pull of pod prod/db-0" in answer["sentence"]


def test_a_start_that_did_not_come_to_its_end(tmp_path, store):
    store.add(Span(1, RUNTIME + "RunPodSandbox", 0, 400, pod=POD, status=2, message="plugin x: no address"),
              Span(2, RUNTIME + "RunPodSandbox", 12000, 300, pod=POD, status=2, message="plugin x: no address"))
    answer = ask(tmp_path, "web-7d4b9", "--start")
    assert (answer["complete"], answer["attempts"], answer["failed"]) == (False, 2, "RunPodSandbox")
    assert answer["why"] == "plugin x: no address"
    assert answer["sentence"].startswith("Not started after 12.3 s, RunPodSandbox failed:")
    assert [(p["what"], p["duration_ns"]) for p in part(answer, "retry")] == [("RunPodSandbox", 11600 * MS)]


def test_pressure(tmp_path, store):
    a_start(store)
    store.db.executemany(
        "INSERT INTO pressure(at_ns, seconds, cpu_some_us, cpu_full_us, io_some_us, io_full_us, memory_some_us, memory_full_us)"
        " VALUES (?, 1, ?, 0, 0, 0, NULL, NULL)", [(T0 + s * 1000 * MS, 400_000) for s in range(3)])
    answer = ask(tmp_path, "web-7d4b9", "--start")
    assert answer["pressure"]["cpu_some_us"] == 400_000 * answer["pressure"]["seconds"]
    assert "memory_some_us" not in answer["pressure"]
    assert "CPU 40 %" in podspan(tmp_path, "why", "web-7d4b9", "--start")


def test_text_fits_a_terminal_and_obeys_nobody(tmp_path, store):
    evil = ("uid-evil", "evil\x1b[2J" + "x" * 60, "default")
    store.add(Span(1, RUNTIME + "RunPodSandbox", 0, 100, pod=evil),
              Span(2, PULL, 100, 900, pod=evil, attributes={"container.image.name": "\x1b]0;owned\x07" + "y" * 300}),
              Span(3, "cni \x1b[31mred ADD", 10, 80, pod=evil, parent=1, kind=1),
              Span(4, RUNTIME + "StartContainer", 1010, 50, pod=evil, container="c"))
    out = on_terminal(tmp_path, "why", "uid-evil", "--start", columns=80)
    assert "\x1b]0" not in out and "\x1b[2J" not in out and "\x1b[31m" not in out
    assert all(len(line) <= 80 for line in plain(out).splitlines())


def test_nothing_to_say(tmp_path, store):
    a_start(store)
    assert podspan(tmp_path, "why", "nobody", "--start", check=3) == ""
    podspan(tmp_path, "why", "web-7d4b9", "--start", "--now", check=2)
