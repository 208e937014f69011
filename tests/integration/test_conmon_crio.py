"""CRI-O with podspan-conmon, runc and crun: pods live as they do with conmon, and the trace says what happened."""

import contextlib
import functools
import os
import signal
import subprocess
import time
from pathlib import Path

import grpc
import pytest

from lib import conmon, cri
from lib.checks import CRI, has_methods
from lib.conmon import content, parse_log
from lib.crio import Crio
from lib.node import Node
from lib.otlp import Receiver
from lib.paths import peer
from lib.podspan import Podspan
from lib.process import wait_for
from lib.spans import ERROR, INTERNAL, NO_PARENT, Caller, Spans
from lib.terminal import Talk, on_terminal

MONITOR = "podspan-conmon"


@contextlib.contextmanager
def crio_node(runtime, which, own_spans=True):
    """CRI-O with a monitor, podspan-cri in front; both write into the same state folder."""
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        podspan = stack.enter_context(Podspan(receiver.endpoint))
        tracing = (f'enable_tracing = true\ntracing_endpoint = "{receiver.endpoint}"\n'
                   "tracing_sampling_rate_per_million = 1000000\n") if own_spans else ""
        environments = podspan.folder / "environments"
        environments.mkdir()
        hook = ["/bin/sh", "-c", f"env >{environments}/$(jq -r .id)"]
        crio = stack.enter_context(Crio(runtime, hooks={"createRuntime": [hook]}, monitor=which.path, tracing=tracing,
                                        monitor_env=podspan.monitor_env))
        one = Node(podspan, crio, receiver)
        stack.callback(one.close)
        one.name, one.environments = runtime, environments
        yield one


@pytest.fixture(name="one", scope="module", params=["runc", "crun"])
def fixture_one(request, fixture_nothing_is_left):
    """A node with either runtime."""
    with crio_node(request.param, conmon.subject()) as one:
        yield one


@pytest.fixture(name="pod")
def fixture_pod(one):
    """A sandbox whose start has a caller; removed at the end."""
    pod = cri.Pod(one.runtime)
    pod.caller = Caller()
    pod.run(one.client, traceparent=pod.caller.traceparent)
    yield pod
    for container in one.direct("ListContainers").containers:
        if container.pod_sandbox_id == pod.sandbox_id:
            one.direct("StopContainer", container_id=container.id, timeout=0)
            one.direct("RemoveContainer", container_id=container.id)
    one.direct("StopPodSandbox", pod_sandbox_id=pod.sandbox_id)
    one.direct("RemovePodSandbox", pod_sandbox_id=pod.sandbox_id)


def start(one, pod, script, name="main", **container):
    """Creates and starts a container that runs a shell script."""
    return pod.start(one.client, name, traceparent=pod.caller.traceparent, command=("sh", "-c", script), **container)


def status(one, container):
    """ContainerStatus."""
    return one.direct("ContainerStatus", container_id=container).status


def wait_exit(one, container):
    """Waits for a container's end; returns its status."""
    return wait_for(lambda: (now := status(one, container)).state == cri.CONTAINER_EXITED and now, "the end", interval=0.05)


def log(pod, name="main"):
    """The records of a container's log."""
    path = pod.log_file(name)
    return parse_log(path.read_bytes()) if path.exists() else []


def ours(spans, container, name=None):
    """The monitor's spans of a container."""
    return Spans(span for span in spans.of(service=MONITOR)
                 if span.attributes.get("container.id") == container and name in (None, span.name))


def wait_spans(one, container, *names):
    """Waits until the monitor's spans of these names are there; returns all spans."""
    return one.backend.wait_for(lambda spans: {span.name for span in ours(spans, container)}.issuperset(names),
                                f"{names} of {container}")


def check_identity(spans, pod, container):
    """Pod and container are known in every span of the monitor, and nothing comes twice."""
    mine = ours(spans, container)
    for span in mine:
        assert span.pod == (pod.uid, pod.namespace, pod.name)
        assert span.kind == INTERNAL and 0 < span.start <= span.end
    assert len({span.span_id for span in mine}) == len(mine)


def test_life(one, pod):
    """Create, start, stop, remove: exit code, log, spans in the caller's trace below CRI-O's and our own calls."""
    text = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line $i; echo error $i >&2; done; printf rest; sleep 0.3; exit 7"
    container = start(one, pod, text)
    ended = wait_exit(one, container)
    assert (ended.exit_code, ended.reason) == (7, "Error")
    records = log(pod)
    assert content(records, "stdout") == b"".join(b"line %d\n" % number for number in range(1, 501)) + b"rest"
    assert content(records, "stderr") == b"".join(b"error %d\n" % number for number in range(1, 501))
    assert [record.content for record in records if record.tag == "P"] == [b"rest"]

    spans = wait_spans(one, container, f"{one.name} create", "read_loop", "wait_for_exit_code")
    check_identity(spans, pod, container)
    mine = ours(spans, container)
    assert mine.trace_ids() == {pod.caller.trace_id}
    call = spans.one(service=CRI, pod=pod.uid, method="CreateContainer")
    create, = ours(spans, container, f"{one.name} create")
    assert create.parent_id == call.span_id
    assert call.start <= create.start <= create.end <= call.end
    before, = ours(spans, container, "monitor set-up")
    assert before.parent_id == call.span_id and call.start <= before.start <= before.end == create.start
    wait, = ours(spans, container, "wait for the engine")
    assert wait.parent_id == before.span_id and before.start == wait.start <= wait.end <= before.end
    assert create.attributes["process.executable.name"] in (one.name, "crun")
    assert create.attributes["process.exit.code"] == 0 and create.attributes["process.pid"] > 1
    assert create.status != ERROR
    theirs = [span for span in spans.of(service="crio", trace_id=pod.caller.trace_id)
              if span.name.endswith("CreateContainer")]
    assert theirs, f"CRI-O's own spans are not in this trace:\n{spans}"

    end, = ours(spans, container, "wait_for_exit_code")
    assert end.attributes["process.exit.code"] == 7 and end.attributes["podspan.oom_killed"] is False
    assert end.attributes.get("podspan.memory.max_bytes", 0) > 10000
    assert end.attributes.get("podspan.cpu.time_ns", 0) > 0
    loops = {span.attributes["log.iostream"]: span for span in ours(spans, container, "read_loop")}
    for name, records_of in (("stdout", 501), ("stderr", 500)):
        attributes = loops[name].attributes
        assert attributes["podspan.io.bytes"] == len(content(records, name))
        assert attributes["podspan.log.lines"] == 500
        assert attributes["podspan.log.partial_lines"] == records_of - 500
        assert 0 < attributes["podspan.io.reads"] <= 2000
        assert attributes["podspan.log.dropped_bytes"] == 0


def test_stop(one, pod):
    """A container that heeds SIGTERM, one that does not; what they say last is in the log."""
    polite = start(one, pod, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done", "polite")
    stubborn = start(one, pod, "trap '' TERM; echo up; while :; do sleep 0.05; done", "stubborn")
    for name in ("polite", "stubborn"):
        wait_for(lambda: content(log(pod, name)) == b"up\n", f"{name} is up")
    one.client("StopContainer", container_id=polite, timeout=20)
    one.client("StopContainer", container_id=stubborn, timeout=1)
    assert (status(one, polite).exit_code, status(one, stubborn).exit_code) == (3, 137)
    assert content(log(pod, "polite")) == b"up\nbye\n"
    spans = wait_spans(one, stubborn, "wait_for_exit_code")
    end, = ours(spans, stubborn, "wait_for_exit_code")
    assert end.attributes["process.exit.code"] == 137
    assert end.attributes["podspan.process.signal"] == "SIGKILL"
    for container in (polite, stubborn):
        one.client("RemoveContainer", container_id=container)
        assert not any(container in line for line in _command_lines())


def _command_lines():
    """Of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text(encoding="utf-8", errors="replace").replace("\0", " ")


def test_create_fails(one, pod):
    """What the runtime says comes to the caller, and is on the span."""
    with pytest.raises(grpc.RpcError) as error:
        pod.start(one.client, traceparent=pod.caller.traceparent, command=("/no/such/program",))
    assert "/no/such/program" in error.value.details() or "no such file" in error.value.details().lower()
    spans = one.backend.wait_for(
        lambda spans: [span for span in spans.of(service=MONITOR, pod=pod.uid) if span.status == ERROR], "the failure")
    failed, = [span for span in spans.of(service=MONITOR, pod=pod.uid) if span.name == f"{one.name} create"]
    assert failed.status == ERROR and failed.attributes["process.exit.code"] != 0
    assert "/no/such/program" in failed.status_message or "no such file" in failed.status_message.lower()


def test_exec(one, pod):
    """ExecSync: output byte by byte, exit codes, large output; of probes only the failed one becomes spans."""
    container = start(one, pod, "sleep 1000")
    execute = functools.partial(one.client, "ExecSync", container_id=container, timeout=20)
    done = execute(cmd=["sh", "-c", "echo out; echo error >&2; printf 'no end'"])
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\nno end", b"error\n", 0)
    done = execute(cmd=["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"])
    assert done.stdout == b"x" * 3000000
    done = execute(cmd=["sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done"])
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 3001))
    assert execute(cmd=["sh", "-c", "kill -9 $$"]).exit_code == 137
    with pytest.raises(grpc.RpcError):
        execute(cmd=["/no/such/program"])
    assert execute(cmd=["sh", "-c", "exit 9"]).exit_code == 9
    spans = one.backend.wait_for(lambda spans: any(
        span.attributes.get("process.exit.code") == 9 for span in ours(spans, container, "wait_for_exit_code")),
        "the failed probe")
    probe, = [span for span in ours(spans, container, "wait_for_exit_code")
              if span.attributes.get("process.exit.code") == 9]
    assert [span for span in ours(spans, container, f"{one.name} exec") if span.trace_id == probe.trace_id]
    # In a trace of its own, without a parent that nobody wrote down, and with the way back to the start.
    assert probe.trace_id != pod.caller.trace_id
    known = {span.span_id for span in spans}
    for span in spans.of(service=MONITOR, trace_id=probe.trace_id):
        assert span.parent_id == NO_PARENT or span.parent_id in known, f"{span} has a parent that is nowhere"
    assert pod.caller.trace_id in {link for span in spans.of(service=MONITOR, trace_id=probe.trace_id)
                                   for link, _ in span.links}
    assert not [span for span in ours(spans, container, "wait_for_exit_code")
                if span.attributes.get("process.exit.code") == 0 and span.end - span.start < 1e9]


def test_exec_timeout(one, pod):
    """A probe that takes too long is ended with all it started, and the caller is told."""
    container = start(one, pod, "sleep 1000")
    begin = time.monotonic()
    done = one.client("ExecSync", container_id=container, cmd=["sh", "-c", "echo begun; sleep 31415"], timeout=1)
    assert (done.exit_code, done.stderr) == (-1, b"command timed out")
    assert 0.9 < time.monotonic() - begin < 10
    wait_for(lambda: not any("sleep 31415" in line and "sh -c" not in line for line in _command_lines()), "it is ended")
    assert one.client("ExecSync", container_id=container, cmd=["true"], timeout=10).exit_code == 0


def crictl(one, *arguments):
    """The command line of crictl at podspan-cri's socket."""
    endpoint = f"unix://{one.socket}"
    return [str(peer("crictl", "crictl")), "--config", "/dev/null", "--runtime-endpoint", endpoint, "--image-endpoint",
            endpoint, *arguments]


def test_attach(one, pod):
    """Without a terminal: both streams, input, and the log has all of it."""
    container = start(one, pod, "read x; echo got $x; echo error >&2; read x; exit 4", stdin=True)
    with subprocess.Popen(crictl(one, "attach", "-i", container), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as client:
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"got hello\n"
        assert client.stderr.readline() == b"error\n"
        client.stdin.write(b"more\n")
        client.stdin.flush()
        assert wait_exit(one, container).exit_code == 4
        client.stdin.close()
        client.wait(20)
    records = log(pod)
    assert (content(records, "stdout"), content(records, "stderr")) == (b"got hello\n", b"error\n")
    spans = wait_spans(one, container, "attach", "wait_for_exit_code")
    attached, = ours(spans, container, "attach")
    assert attached.attributes["podspan.attach.bytes_in"] == len("hello\nmore\n")
    assert attached.attributes["podspan.attach.bytes_out"] == len("got hello\nerror\n")


def test_attach_terminal(one, pod):
    """With a terminal: its size, its echo, its line ends; one stream in the log."""
    script = ("echo ready; read x; while [ \"$(stty size)\" != '33 77' ]; do sleep 0.05; done; stty size; echo got $x; "
              "read x; exit 4")
    container = start(one, pod, script, stdin=True, tty=True)
    wait_for(lambda: b"ready" in content(log(pod)), "it is ready")
    code, output = on_terminal(crictl(one, "attach", "-i", "-t", container),
                               Talk((b"", b"hello\r"), (b"got hello\r\n", b"\r")))
    assert b"got hello\r\n" in output
    assert wait_exit(one, container).exit_code == 4
    records = log(pod)
    assert {record.stream for record in records} == {"stdout"}
    assert b"33 77\r\n" in content(records)
    assert code in (0, 1)


def test_reopened_log(one, pod):
    """kubelet's rotation: the old file is renamed away, the new one begins, nothing is lost."""
    container = start(one, pod, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); echo line $i; [ $((i % 50)) -ne 0 ] || "
                                "sleep 0.01; [ ! -e /stop ] || exit 0; done")
    path, pieces = pod.log_file(), []
    for number in range(4):
        wait_for(lambda: path.stat().st_size > 3000, "something in the log")
        pieces.append(path.with_name(f"piece{number}"))
        os.rename(path, pieces[-1])
        one.client("ReopenContainerLog", container_id=container)
        assert path.exists()
    one.client("ExecSync", container_id=container, cmd=["touch", "/stop"], timeout=10)
    assert wait_exit(one, container).exit_code == 0
    whole = b"".join(content(parse_log(piece.read_bytes())) for piece in [*pieces, path])
    assert whole == b"".join(b"line %d\n" % number for number in range(1, whole.count(b"\n") + 1))
    spans = wait_spans(one, container, "log_rotate", "wait_for_exit_code")
    assert len(ours(spans, container, "log_rotate")) == 4


def test_out_of_memory(one, pod):
    """The OOM killer: CRI-O says so, and so does the span."""
    container = start(one, pod, "x=a; while :; do x=$x$x; done", memory=32 << 20)
    ended = wait_exit(one, container)
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")
    spans = wait_spans(one, container, "wait_for_exit_code")
    end, = ours(spans, container, "wait_for_exit_code")
    assert end.attributes["podspan.oom_killed"] is True
    assert end.attributes["process.exit.code"] == 137


def test_out_of_memory_of_a_child(one, pod):
    """The OOM killer takes a child, and the container goes on: an event with its time, not how the container ended."""
    for number in range(5):
        container = start(one, pod, "sh -c 'echo 900 >/proc/self/oom_score_adj; x=a; while :; do x=$x$x; done'; sleep 1.5; exit 4",
                          name=f"parent-{number}", memory=32 << 20)
        # What is taken from it may not be enough in time: then the container goes, too.
        if wait_exit(one, container).exit_code == 4:
            break
    end, = ours(wait_spans(one, container, "wait_for_exit_code"), container, "wait_for_exit_code")
    assert end.attributes["process.exit.code"] == 4 and end.attributes["podspan.oom_killed"] is False
    times = [at for name, at in end.events if name == "oom_kill"]
    assert times and all(end.start < at < end.end - 1e9 for at in times)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_restart(one, pod, number):
    """CRI-O goes and comes: containers run on, and an end meanwhile is noticed."""
    runs = start(one, pod, "echo up; while [ ! -e /stop ]; do sleep 0.05; done; echo down; exit 5", "runs")
    ends = start(one, pod, "echo up; sleep 1; echo down; exit 6", "ends")
    attached = start(one, pod, "read x; echo got $x; exit 8", "attached", stdin=True)
    wait_for(lambda: content(log(pod, "runs")) == b"up\n", "it is up")
    one.runtime.restart(number)
    assert wait_exit(one, ends).exit_code == 6
    assert content(log(pod, "ends")) == b"up\ndown\n"
    assert status(one, runs).state == cri.CONTAINER_RUNNING
    one.direct("ExecSync", container_id=runs, cmd=["touch", "/stop"], timeout=10)
    assert wait_exit(one, runs).exit_code == 5
    assert content(log(pod, "runs")) == b"up\ndown\n"
    with subprocess.Popen(crictl(one, "attach", "-i", attached), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as client:
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"got hello\n"
        client.stdin.close()
        client.wait(20)
    assert wait_exit(one, attached).exit_code == 8


def test_without_a_caller(one):
    """Without a caller's trace all of a start is one trace, CRI-O's own spans with it; the end leads back to it."""
    pod = cri.Pod(one.runtime).run(one.client)
    container = pod.start(one.client, command=("sh", "-c", "echo x; exec sleep 1000"))
    pod.remove(one.client)
    spans = wait_spans(one, container, f"{one.name} create", "read_loop", "wait_for_exit_code")
    call = spans.one(service=CRI, pod=pod.uid, method="CreateContainer")
    check_identity(spans, pod, container)
    assert ours(spans, container).trace_ids() == {call.trace_id}
    assert call in spans.ancestors(ours(spans, container, f"{one.name} create")[0])
    assert spans.of(service="crio", trace_id=call.trace_id), "CRI-O's spans are in another trace"
    one.backend.wait_for(has_methods(pod, "StopContainer", "RemoveContainer"), "the end")
    assert not any(container in line for line in _command_lines())
    assert NO_PARENT == spans.one(service=CRI, pod=pod.uid, method="RunPodSandbox").parent_id


def test_runtime_has_the_context(one, pod):
    """The runtime, and what it starts, has the context of its span in its environment."""
    container = start(one, pod, "sleep 1000")
    create, = ours(wait_spans(one, container, f"{one.name} create"), container, f"{one.name} create")
    environment = (one.environments / container).read_text(encoding="utf-8").splitlines()
    assert f"TRACEPARENT=00-{create.trace_id}-{create.span_id}-01" in environment
