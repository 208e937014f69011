"""What failed and what did not, with real runtimes and podspan-watch: a pod that ends is no error, and a failure says why."""

import contextlib
import functools
import json
import random
import time

import grpc
import pytest

from lib import cri
from lib.crio import Crio
from lib.node import CONTAINERD, CRIO, MODERN, node
from lib.otlp import Answer, Receiver
from lib.paths import built
from lib.podspan import Podspan
from lib.process import wait_for
from lib.watch import Watch
from test_export import make_spans

OURS = "crio-crun-podspan-conmon"
RUNTIMES = {**CONTAINERD, **CRIO, OURS: functools.partial(Crio, "crun", monitor=built("podspan-conmon"))}
SETTLED = 8  # s: podspand decides on a container's end 5 s after it came, at its next tick
MEMORY = 32 << 20
GROW = ("sh", "-c", "x=a; while :; do x=$x$x; done")


@contextlib.contextmanager
def observed(name):
    """A runtime, podspan-cri in front, podspan-watch beside; nothing is sampled, what failed is exported."""
    with Receiver() as receiver, node(RUNTIMES[name], backend=receiver, podspan_options={
            "rate": 0, "config": "tracing_keep_errors = true\n"}) as one, Watch(one.podspan):
        yield one


def traces(one, *arguments):
    """All traces of the store that pass."""
    return json.loads(one.podspan.cli("traces", *arguments, "--json", check=False))["traces"]


def ended(one, pod, count):
    """Waits until the ends of so many containers of the pod are in the store, told by podspan-watch or podspan-conmon."""

    def told():
        names = [span["name"] for trace in traces(one, "--pod", pod.uid)
                 for resource in one.podspan.cli_json("trace", trace["trace_id"])["resourceSpans"]
                 for scope in resource["scopeSpans"] for span in scope["spans"]]
        return names.count("wait_for_exit_code") >= count

    wait_for(told, "the ends of the containers are told", 30)


@pytest.mark.parametrize("name", [MODERN, "crio-crun", "crio-runc", OURS])
def test_a_pod_that_ends_is_no_error(name):
    """Stopped by StopContainer (SIGTERM, SIGKILL, a code of its own), by StopPodSandbox and by removal."""
    with observed(name) as one:
        client = one.client
        pod = cri.Pod(one.runtime).run(client)
        polite = ("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
        for container, command in {"main": ("sleep", "1000"), "polite": polite, "left": ("sleep", "1000"),
                                   "good": ("true",)}.items():
            pod.start(client, container, command=command)
        wait_for(lambda: client("ContainerStatus", container_id=pod.containers["good"]).status.state ==
                 cri.CONTAINER_EXITED, "it ends by itself")
        # CRI-O gives a container that is left its own, long grace period.
        left = {"left": 0} if name.startswith("crio") else {}
        for container, timeout in {"main": 1, "polite": 5, **left}.items():
            client("StopContainer", container_id=pod.containers[container], timeout=timeout)
        client("StopPodSandbox", pod_sandbox_id=pod.sandbox_id)
        pod.remove(client)
        ended(one, pod, 4)
        time.sleep(SETTLED)

        listed = traces(one, "--pod", pod.uid)
        assert len(listed) >= 4
        assert [(t["operation"], t.get("why")) for t in listed if t["status"] != "ok"] == []
        # podspan-watch sees the machine's other containers, too.
        exported = [(span.name, span.status, span.attributes) for request in one.backend.requests for span in request.spans
                    if span.resource.get("k8s.pod.uid") == pod.uid]
        assert not exported, "a pod that only ended was exported"
        status = one.podspan.cli_json("status")
        assert status["spans"]["unexplained"] == 0 and status["spans"]["local"] > 0
        shown = "".join(one.podspan.cli("trace", trace["trace_id"]) for trace in listed)
        assert "stopped: exit code 3" in shown and "stopped: SIGKILL" in shown and "✗" not in shown, shown


@pytest.mark.parametrize("name", [MODERN, "crio-crun", OURS])
def test_what_failed_is_kept_and_says_why(name):
    """A container that crashes, one that exits with a code, the OOM killer, a start that the runtime refuses."""
    with observed(name) as one:
        client = one.client
        pod = cri.Pod(one.runtime).run(client)
        ends = {"crash": (("sh", "-c", "kill -SEGV $$"), "SIGSEGV"), "code": (("sh", "-c", "exit 3"), "exit code 3"),
                "oom": (GROW, "OOM killed (SIGKILL)")}
        for container, (command, _) in ends.items():
            # The first process of a pid namespace is not killed by its own signal.
            pod.start(client, container, command=command, memory=MEMORY if container == "oom" else 0,
                      host_pid=container == "crash")
            wait_for(lambda: client("ContainerStatus", container_id=pod.containers[container]).status.state ==
                     cri.CONTAINER_EXITED, "it ends", 30)
        with pytest.raises(grpc.RpcError):
            pod.start(client, "bad", command=("/no/such/program",))
        ended(one, pod, 3)
        pod.remove(client)

        one.backend.wait_for(lambda spans: spans.of(pod=pod.uid), "what failed is exported", timeout=30)
        (start,) = [t for t in traces(one, "--errors", "--pod", pod.uid) if t["operation"].endswith("RunPodSandbox")]
        shown = one.podspan.cli("trace", start["trace_id"])
        for _, why in ends.values():
            assert f"✗ {why}" in shown, shown
        assert "no such file" in shown.lower() and "msg=" not in shown and "✗ error" not in shown, shown
        assert "no such file" in start["why"].lower()


def test_a_start_that_containerd_refuses():
    """The same pod a second time: "failed to reserve sandbox name", which is no error by OpenTelemetry's convention."""
    with observed(MODERN) as one:
        first = cri.Pod(one.runtime, name="twin").run(one.client)
        second = cri.Pod(one.runtime, name="twin")
        second.uid = first.uid
        with pytest.raises(grpc.RpcError) as refused:
            second.run(one.client)
        assert "failed to reserve sandbox name" in refused.value.details()
        spans = one.backend.wait_for(lambda spans: [span for span in spans if span.method == "RunPodSandbox"],
                                     "the refused call is exported", timeout=30)
        (span,) = [span for span in spans if span.method == "RunPodSandbox"]
        (trace,) = traces(one, "--errors", "--service", "podspan-cri")
        assert trace["trace_id"] == span.trace_id and trace["status"] == "error"
        assert "failed to reserve sandbox name" in trace["why"]
        # What is exported keeps OpenTelemetry's status.
        code = span.attributes["rpc.response.status_code"]
        assert (span.status == 2) == (code in ("UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"))
        first.remove(one.client)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_span_is_accounted_for(seed):
    """In = exported + local only + pending + dropped, while collectors refuse and podspand is killed at any moment."""
    draw = random.Random(seed)
    answers = [Answer(), Answer(grpc.StatusCode.INVALID_ARGUMENT, "no"), Answer(rejected=1, message="one was bad"),
               Answer(grpc.StatusCode.UNAVAILABLE, "later")]
    count = 0
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        for _ in range(12):
            receiver.script(*draw.choices(answers, k=3))
            count += len(make_spans(podspan, draw.randint(1, 12)))
            time.sleep(draw.random() * 0.8)
            spans = podspan.cli_json("status")["spans"]
            assert spans["unexplained"] == 0 and spans["in"] <= count, spans
            if draw.random() < 0.5:
                podspan.agent.kill()
                assert podspan.cli_json("status")["spans"]["unexplained"] == 0
                podspan.start_agent()

        def settled():
            spans = podspan.cli_json("status")["spans"]
            assert spans["unexplained"] == 0, spans
            return spans["in"] == count and spans["pending"] == 0

        wait_for(settled, "all is exported or refused", 30)
        spans = podspan.cli_json("status")["spans"]
        assert spans["exported"] + spans["dropped"] == count and spans["local"] == 0
        assert f"{count} in = {spans['exported']} exported + 0 local only + 0 pending + {spans['dropped']} dropped" in \
            podspan.cli("status")
