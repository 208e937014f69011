"""podspan-watch with the real runtimes: what they do inside becomes spans, and nobody's span is somebody else's."""

import collections
import contextlib
import hashlib
import os
import threading
import time

import pytest

from lib import cri
from lib.checks import CRI
from lib.node import CONTAINERD, CRIO, MODERN, node
from lib.otlp import Receiver
from lib.podman import Podman
from lib.podspan import Podspan
from lib.process import run, wait_for
from lib.spans import ERROR, NO_PARENT, Caller, Spans
from lib.watch import WATCH, Watch, has, hook, of, one as one_span

RUNTIMES = {**CONTAINERD, **CRIO}
one_of_each = pytest.mark.parametrize("name", [MODERN, "crio-crun"])

N_PODS = 100
N_PROBES = 4
CLOCK_SLACK = 1_000_000  # the hook's own clock is read inside of it; the agreement asked for is 1 ms
MEMORY = 32 << 20
START_PHASES = {"runc": {"start-up", "namespaces", "state saved"}, "crun": {"start-up", "state saved"}}
# Likewise where no mount is told of: what is behind the last one is known by them. (crun's wrapper here has a child.)
PLAIN_PHASES = {**START_PHASES, "runc": {"start-up", "namespaces", "mounts and state"}}
GROW = ("sh", "-c", "x=a; while :; do x=$x$x; done")
# What a container runs, and how its end is told: exit code, signal, OOM killer.
ENDS = {"init": (("true",), (0, None, False)), "code": (("sh", "-c", "exit 3"), (3, None, False)),
        "oom": (GROW, (137, "SIGKILL", True)), "signal": (("sh", "-c", "kill -USR1 $$"), (138, "SIGUSR1", False))}


class Hooks:
    """createRuntime hooks, one of them slow with its own clock, one that fails when told so, and one of poststop."""

    def __init__(self, folder):
        self.clock, self._flag = folder / "clock", folder / "fail"
        self.stages = {
            "createRuntime": [
                hook(folder, "slow-hook", f"date +%s%N >{self.clock}; sleep 0.05; date +%s%N >>{self.clock}"),
                hook(folder, "bad-hook", f"[ ! -e {self._flag} ] || exit 7")],
            "poststop": [hook(folder, "stop-hook", "exit 0")]}

    def fail(self):
        """From now on one of them fails."""
        self._flag.touch()

    def times(self):
        """What the slow one's own clock said at its begin and end."""
        return [int(line) for line in self.clock.read_text(encoding="ascii").split()]


@pytest.fixture(name="hooks")
def fixture_hooks(tmp_path):
    """The hooks."""
    return Hooks(tmp_path)


def _make(name, stages=None):
    """The runtime with these hooks instead of podspan's."""
    make = RUNTIMES[name]
    return lambda **options: make(**{**options, "hooks": stages or {}})


def _derived(identifier):
    return hashlib.sha256(b"podspan1" + identifier.encode()).hexdigest()[:32]


def _end(span):
    attributes = span.attributes
    return (attributes["process.exit.code"], attributes.get("podspan.process.signal"), attributes.get("podspan.oom_killed"))


class Stock:
    """A runtime with podspan-watch beside it and nothing in front."""

    def __init__(self, podspan, runtime, backend, client):
        self.podspan, self.runtime, self.backend, self.client = podspan, runtime, backend, client


@contextlib.contextmanager
def _stock(make):
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, make() as runtime, \
            runtime.client() as client:
        yield Stock(podspan, runtime, receiver, client)


class Life:
    """A pod's whole life: init container, start, probes in parallel, ways to end, a failed start, removal."""

    def __init__(self, one, hooks, caller):
        call = {"traceparent": caller.traceparent} if caller else {}
        client = one.client
        self.pod = pod = cri.Pod(one.runtime).run(client, **call)
        pod.start(client, "init", command=ENDS["init"][0], **call)
        wait_for(lambda: client("ContainerStatus", container_id=pod.containers["init"]).status.state ==
                 cri.CONTAINER_EXITED, "the init container ends")
        pod.start(client, "main", **call)
        self.times = hooks.times()
        for name in ENDS.keys() - {"init"}:
            pod.start(client, name, command=ENDS[name][0], memory=MEMORY if name == "oom" else 0,
                      host_pid=name == "signal", **call)
        probes = [client.call_async("ExecSync", container_id=pod.containers["main"], cmd=[command], timeout=10)
                  for command in N_PROBES * ["true"] + N_PROBES * ["false"]]
        assert [probe.result().exit_code for probe in probes] == N_PROBES * [0] + N_PROBES * [1]
        hooks.fail()
        with pytest.raises(Exception):
            pod.start(client, "bad", **call)
        if "bad" not in pod.containers:
            self.failed = "CreateContainer"
        else:
            self.failed = "StartContainer"
        pod.remove(client)


def _check_within(span, outer):
    assert outer.start <= span.start <= span.end <= outer.end, f"{span} is not inside {outer}"


def _check_hooks(spans, create, container, times):
    """Both hooks below the runtime, the slow one as long as its own clock says."""
    runtime = create.name.partition(" ")[0]
    phases = {span.name for span in of(spans, parent=create.span_id)}
    assert phases >= START_PHASES[runtime] | {"slow-hook", "bad-hook"}
    for name in ("slow-hook", "bad-hook"):
        span = one_span(spans, name=name, container=container)
        assert span.parent_id == create.span_id
        assert span.attributes["oci.hook.stage"] == "createRuntime"
        assert span.attributes["process.executable.name"] == name
    slow = one_span(spans, name="slow-hook", container=container)
    first, last = times
    assert slow.start - CLOCK_SLACK <= first <= last <= slow.end + CLOCK_SLACK
    sleep = one_span(spans, name="sleep", container=container)
    assert sleep.parent_id == slow.span_id and 50e6 <= sleep.end - sleep.start <= last - first


def _check_start(spans, life, name, calls):
    """Every command of the start under what caused it: the CRI call, or where nobody tells, the trace."""
    pod, runtime = life.pod, name.rpartition("-")[2]
    call = lambda method, container=None: next(
        span.span_id for span in calls if span.method == method and
        container in (None, span.attributes.get("container.id"))) if calls else NO_PARENT

    bridge = one_span(spans, name="cni bridge ADD", pod=pod.uid)
    assert bridge.parent_id == call("RunPodSandbox")
    assert one_span(spans, name="cni host-local ADD", pod=pod.uid).parent_id == bridge.span_id
    for container in (pod.containers["init"], pod.containers["main"]):
        create = one_span(spans, name=f"{runtime} create", container=container)
        top = create
        if name.startswith("crio"):
            top = one_span(spans, name="conmon", container=container)
            assert create.parent_id == top.span_id
            _check_within(create, top)
        creator = call("CreateContainer" if name.startswith("crio") else "StartContainer", container)
        assert top.parent_id == creator
        start = one_span(spans, name=f"{runtime} start", container=container)
        assert start.parent_id == call("StartContainer", container)
        entrypoint = one_span(spans, name="entrypoint", container=container)
        assert create.end == entrypoint.start < entrypoint.end and start.start < entrypoint.end
        assert entrypoint.parent_id == creator
    _check_hooks(spans, one_span(spans, name=f"{runtime} create", container=pod.containers["main"]),
                 pod.containers["main"], life.times)


def _check_failed(spans, life, trace):
    """The hook that failed, below the create that failed with it."""
    bad = [span for span in of(spans, name="bad-hook", pod=life.pod.uid) if span.status == ERROR]
    assert [span.attributes["process.exit.code"] for span in bad] == [7]
    create = spans.ancestors(bad[0])[0]
    assert create.name.endswith(" create") and create.status == ERROR and create.trace_id == trace


def _check_ends(spans, life, trace):
    """How each container ended, in the trace of the start."""
    ends = {**{name: end for name, (_, end) in ENDS.items()}, "main": (137, "SIGKILL", False)}
    for name, end in ends.items():
        waits = [span for span in of(spans, name="wait_for_exit_code", container=life.pod.containers[name])
                 if span.trace_id == trace]
        assert [_end(span) for span in waits] == [end], name


def _check_probes(spans, one, life, trace, runtime):
    """Of the probes those that failed have spans, each in a trace of its own that leads back to the start."""
    probes = of(spans, name=f"{runtime} exec", container=life.pod.containers["main"])
    assert len(probes) == len(probes.trace_ids()) == N_PROBES
    for probe in probes:
        top = ([probe] + spans.ancestors(probe))[-1]
        assert top.parent_id == NO_PARENT and top.trace_id != trace
        assert trace in {link for span in [probe] + spans.ancestors(probe) for link, _ in span.links}
    assert one.podspan.cli_json("status")["counters"]["podspan-watch"]["watch_counted"] >= N_PROBES


@pytest.mark.parametrize("intercepted", [True, False], ids=["intercepted", "stock"])
@pytest.mark.parametrize("name", RUNTIMES)
def test_pod(name, intercepted, hooks):
    """Each runtime, with podspan-cri in front and without: every span has its right parent and pod."""
    runtime = name.rpartition("-")[2]
    make = _make(name, hooks.stages)
    with (node(make, stages=()) if intercepted else _stock(make)) as one, Watch(one.podspan):
        caller = Caller() if intercepted else None
        life = Life(one, hooks, caller)
        pod, main = life.pod, life.pod.containers["main"]
        spans = one.backend.wait_for(
            lambda spans: has("wait_for_exit_code", f"{runtime} delete", "stop-hook", "entrypoint", container=main)(
                spans) and has("cni bridge DEL", pod=pod.uid)(spans) and
            len(of(spans, name=f"{runtime} exec", container=main)) == N_PROBES and
            all(of(spans, name="wait_for_exit_code", container=pod.containers[name]) for name in ENDS),
            "the pod's life")
        trace = caller.trace_id if caller else _derived(pod.sandbox_id)
        calls = spans.of(service=CRI, pod=pod.uid, trace_id=trace)
        assert bool(calls) == intercepted

        _check_start(spans, life, name, calls)
        _check_failed(spans, life, trace)
        _check_ends(spans, life, trace)
        _check_probes(spans, one, life, trace, runtime)
        stop = one_span(spans, name="stop-hook", container=main)
        assert stop.attributes["oci.hook.stage"] == "poststop"
        assert spans.ancestors(stop)[0].name == f"{runtime} delete"
        # The machine may run others' pods besides.
        for span in of(spans):
            if span.trace_id == trace or span.attributes.get("container.id") in pod.containers.values():
                assert span.pod == (pod.uid, pod.namespace, pod.name), f"{span} {span.attributes}"
                assert "podspan.incomplete" not in span.attributes


@one_of_each
@pytest.mark.parametrize("intercepted", [True, False], ids=["intercepted", "stock"])
def test_late_exit(name, intercepted):
    """What ends later than `start_window` after its start has a trace of its own that leads back."""
    config = "start_window = 50ms"
    make = _make(name)
    with contextlib.ExitStack() as stack:
        if intercepted:
            one = stack.enter_context(node(make, stages=(), podspan_options={"config": config}))
        else:
            receiver = stack.enter_context(Receiver())
            podspan = stack.enter_context(Podspan(receiver.endpoint, config=config))
            runtime = stack.enter_context(make())
            one = Stock(podspan, runtime, receiver, stack.enter_context(runtime.client()))
        stack.enter_context(Watch(one.podspan))
        pod = cri.Pod(one.runtime).run(one.client)
        main = pod.start(one.client, command=("sleep", "0.2"))
        spans = one.backend.wait_for(has("wait_for_exit_code", "entrypoint", container=main), "the exit")
        late, entrypoint = (one_span(spans, name=name, container=main) for name in ("wait_for_exit_code", "entrypoint"))
        assert late.trace_id != entrypoint.trace_id and late.parent_id == NO_PARENT
        assert entrypoint.trace_id in {trace for trace, _ in late.links}
        assert late.end - late.start >= 200e6


@one_of_each
@pytest.mark.parametrize("explains", [True, False], ids=["explained", "plain"])
def test_explain_time(name, explains):
    """What commands and engines spend their time with is told unless the configuration says otherwise."""
    runtime, engine = name.rpartition("-")[2], {"containerd-2.3.7-runc": "containerd"}.get(name, "crio")
    with node(_make(name), stages=(), podspan_options={"config": f"explain_time = {str(explains).lower()}"}) as one, \
            Watch(one.podspan):
        pods = [one.pod() for _ in range(2)]
        for pod in pods:
            pod.remove(one.client)
        spans = one.backend.wait_for(has(f"{runtime} delete", pod=pods[1].uid), "the end")
        told = Spans(span for pod in pods for span in of(spans, pod=pod.uid))
        explained = {span.name for span in told if "podspan.work.busy_ns" in span.attributes}
        assert bool(explained) == explains
        assert any(name.startswith(f"{engine}: ") for name in explained) == explains
        assert (START_PHASES if explains else PLAIN_PHASES)[runtime] <= {span.name for span in told}


def _in_parallel(*functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _check_own_traces(spans, container, trace, top):
    """What is not in the trace of the start is a command of its own that leads back to it."""
    mine = of(spans, container=container)
    for other in mine.trace_ids() - {trace}:
        tops = [span for span in mine.of(trace_id=other) if span.name == top]
        assert [span.parent_id for span in tops] == [NO_PARENT]
        assert {link for link, _ in tops[0].links} == {trace}


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_podman(runtime, hooks):
    """Containers of podman's, with a bridge: each has a trace derived from its id."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, \
            Podman(runtime, hooks.stages, bridge=True) as podman, Watch(podspan):
        ids = {}
        for name in ("main", "oom", "signal", "bad"):
            command = ENDS[name][0] if name in ENDS else ("sleep", "1000")
            options = {"oom": ("--memory", str(MEMORY)), "signal": ("--pid", "host")}.get(name, ())
            if name == "bad":
                hooks.fail()
            podman.run("--cidfile", podspan.folder / name, "--name", name, *(("--detach",) if name == "main" else ()),
                       *options, "localhost/busybox:1", *command, check=name == "main")
            if name == "main":
                times = hooks.times()
                _in_parallel(*(2 * [lambda: podman("exec", "main", "false", check=False)]))
            if name != "bad":
                ids[name] = (podspan.folder / name).read_text(encoding="ascii").strip()
        podman("rm", "--force", "--time", "0", "main")
        main = ids["main"]
        spans = receiver.wait_for(
            lambda spans: has("wait_for_exit_code", "entrypoint", "cni bridge DEL", container=main)(spans) and
            len(of(spans, name=f"{runtime} exec", container=main)) == 2 and
            all(of(spans, name="wait_for_exit_code", container=identifier) for identifier in ids.values()) and
            any(span.status == ERROR for span in of(spans, name="bad-hook")), "the containers' lives")

        create = one_span(spans, name=f"{runtime} create", container=main)
        assert spans.ancestors(create)[0].name == "conmon"
        _check_hooks(spans, create, main, times)
        assert one_span(spans, name="cni bridge ADD", container=main).parent_id == NO_PARENT
        for name, identifier in ids.items():
            end = {**{name: end for name, (_, end) in ENDS.items()}, "main": (137, "SIGKILL", False)}[name]
            trace = _derived(identifier)
            assert [_end(span) for span in of(spans, name="wait_for_exit_code", container=identifier)
                    if span.trace_id == trace] == [end]
            _check_own_traces(spans, identifier, trace, "conmon exec")
        bad = next(span for span in of(spans, name="bad-hook") if span.status == ERROR)
        assert spans.ancestors(bad)[0].name == f"{runtime} create" and spans.ancestors(bad)[0].status == ERROR
        # The list names what was run, not its first phase, and the container, as there is no pod.
        listed = {trace["trace_id"]: trace for trace in podspan.cli_json("traces")["traces"]}
        assert all(listed[_derived(identifier)]["container_id"] == identifier for identifier in ids.values())
        assert not {trace["operation"] for trace in listed.values()} & {"start-up", "entrypoint", "wait for the engine"}


@pytest.mark.parametrize("name", ["containerd-1.6.20-runc", MODERN])
def test_ctr(name):
    """A container of ctr's has a trace derived from its id, and its commands one each."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, RUNTIMES[name]() as runtime, Watch(podspan):
        ctr = lambda *arguments, check=True: run(runtime.program("ctr"), "--address", runtime.socket, "--namespace",
                                                 "k8s.io", *arguments, check=check)
        serial = time.monotonic_ns()
        ids = {name: f"ctr-{name}-{serial}" for name in ("main", "code", "oom")}
        for name, identifier in ids.items():
            options = {"main": ("--detach",), "oom": ("--rm", "--memory-limit", str(MEMORY))}.get(name, ("--rm",))
            ctr("run", *options, "localhost/busybox:1", identifier, *(ENDS[name][0] if name in ENDS else (
                "sleep", "1000")), check=name == "main")
        _in_parallel(*(lambda serial=serial: ctr("task", "exec", "--exec-id", serial, ids["main"], "false", check=False)
                       for serial in ("a", "b")))
        ctr("task", "kill", "--signal", "SIGKILL", ids["main"])
        spans = receiver.wait_for(
            lambda spans: all(has("runc create", "runc start", "wait_for_exit_code", "containerd-shim start",
                                  container=identifier)(spans.of(trace_id=_derived(identifier)))
                              for identifier in ids.values()) and
            len(of(spans, name="runc exec", container=ids["main"])) == 2, "the containers' lives")
        for name, identifier in ids.items():
            end = ENDS[name][1] if name in ENDS else (137, "SIGKILL", False)
            trace = _derived(identifier)
            assert [_end(span) for span in of(spans, name="wait_for_exit_code", container=identifier)
                    if span.trace_id == trace] == [end], name
            _check_own_traces(spans, identifier, trace, "runc exec")


def _oom_of_a_child(one, pod, number):
    """A container that outlives what the OOM killer takes from it: how it ended, as its span has it."""
    container = pod.start(one.client, f"parent-{number}", memory=MEMORY,
                          command=("sh", "-c", f"sh -c 'echo 900 >/proc/self/oom_score_adj; {GROW[2]}'; exit 4"))
    spans = one.backend.wait_for(lambda spans: of(spans, name="wait_for_exit_code", container=container), "its end")
    return one_span(spans, name="wait_for_exit_code", container=container)


@one_of_each
def test_oom_of_a_child(name):
    """oom_killed is about the first process: that its cgroup has lost another one is an event with its time."""
    with node(_make(name), stages=()) as one, Watch(one.podspan):
        pod = cri.Pod(one.runtime).run(one.client)
        # What is taken from it may not be enough in time: then the container goes, too.
        ends = (_oom_of_a_child(one, pod, number) for number in range(5))
        end = next(end for end in ends if end.attributes["process.exit.code"] != 137)
        assert _end(end) == (4, None, False)
        (_, time_ns), = [event for event in end.events if event[0] == "oom_kill"]
        assert end.start < time_ns < end.end


@one_of_each
def test_pods_in_parallel(name):
    """Pods started all at once: every span has the right pod and is under a call of this very pod."""
    with node(_make(name), stages=()) as one, Watch(one.podspan):
        pods = [cri.Pod(one.runtime, namespace=f"team-{number % 7}") for number in range(N_PODS)]
        for pod in pods:
            pod.logs.mkdir(parents=True)
        for pod, call in [(pod, one.client.call_async("RunPodSandbox", config=pod.config(), deadline=300))
                          for pod in pods]:
            pod.sandbox_id = call.result().pod_sandbox_id
        for pod, call in [(pod, one.client.call_async(
                "CreateContainer", pod_sandbox_id=pod.sandbox_id, config=pod.container_config("main"),
                sandbox_config=pod.config(), deadline=300)) for pod in pods]:
            pod.containers["main"] = call.result().container_id
        for call in [one.client.call_async("StartContainer", container_id=pod.containers["main"], deadline=300)
                     for pod in pods]:
            call.result()
        n_creates = 1 if "crio" in name else 2

        def started(spans):
            """Thousands of spans: each is looked at once."""
            n = collections.Counter()
            for span in spans:
                kind = ("call" if span.service == CRI else "create" if span.name.endswith(" create") else
                        span.name if span.name in ("entrypoint", "cni bridge ADD") else None)
                if kind == "entrypoint":
                    n[kind, span.attributes.get("container.id")] += 1
                elif kind:
                    n[kind, span.pod[0]] += 1
            return all(n["call", pod.uid] >= 3 and n["create", pod.uid] >= n_creates and n["cni bridge ADD", pod.uid] and
                       n["entrypoint", pod.containers["main"]] for pod in pods)

        spans = one.backend.wait_for(started, "all starts", timeout=60)
        spans_of = collections.defaultdict(Spans)
        for span in spans:
            spans_of[span.pod[0]].append(span)
        for pod in pods:
            spans = spans_of[pod.uid]
            mine = of(spans, pod=pod.uid)
            calls = spans.of(service=CRI)
            assert len(calls) == 3
            assert len(of(spans, name="entrypoint", container=pod.containers["main"])) == 1
            assert len([span for span in mine if span.name.endswith(" create")]) == n_creates
            for span in mine:
                above = spans.ancestors(span)
                assert above and above[-1] in calls, f"{span} {span.attributes} {span.links} is under {above}; {pod.sandbox_id} {pod.containers}"
                assert {parent.pod for parent in above} == {span.pod}
                assert "podspan.incomplete" not in span.attributes
        assert one.podspan.cli_json("status")["counters"]["podspan-watch"]["watch_lost"] == 0


def test_short_processes_are_not_lost(tmp_path):
    """A hook that starts a hundred programs of a third of a millisecond each: every one is a span."""
    busy = hook(tmp_path, "busy-hook", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done")
    with node(_make(MODERN, {"createRuntime": [busy]}), stages=()) as one, Watch(one.podspan):
        pod = one.pod()
        main = pod.containers["main"]
        spans = one.backend.wait_for(has("entrypoint", container=main), "the start")
        busy = one_span(spans, name="busy-hook", container=main)
        assert len(of(spans, name="true", parent=busy.span_id)) == 100


def _survivor(one, pod):
    """A container that the OOM killer has taken a process from, and that goes on."""
    script = f"sh -c 'echo 900 >/proc/self/oom_score_adj; {GROW[2]}'; echo survived; exec sleep 1000"
    for number in range(5):
        name = f"parent-{number}"
        container = pod.start(one.client, name, memory=MEMORY, command=("sh", "-c", script))
        status = lambda: one.client("ContainerStatus", container_id=container).status.state
        wait_for(lambda: "survived" in pod.log(name) or status() == cri.CONTAINER_EXITED, "the OOM killer")
        if status() != cri.CONTAINER_EXITED:
            return container
    raise AssertionError("the OOM killer took all of them")


@one_of_each
def test_started_late(name):
    """Started after the pods, podspan-watch knows what runs: what it does next has the right pod, and ends told."""
    with node(_make(name), stages=()) as one:
        pod = one.pod()
        main, survivor = pod.containers["main"], _survivor(one, pod)
        users = pod.start(one.client, "users", user=1000)
        runtime = name.rpartition("-")[2]
        with Watch(one.podspan):
            one.client("ExecSync", container_id=main, cmd=["false"], timeout=10)
            pod.remove(one.client)
            spans = one.backend.wait_for(
                lambda spans: has(f"{runtime} kill", f"{runtime} delete", "wait_for_exit_code", container=main)(spans) and
                all(has("wait_for_exit_code", container=container)(spans) for container in (survivor, users)), "the end")
            for span in of(spans, container=main):
                assert span.pod == (pod.uid, pod.namespace, pod.name)
        # Of the survivor's group the count alone is known: an OOM kill before podspan-watch was there, of some process.
        for container, oom_killed in ((main, False), (survivor, None), (users, False)):
            # Beside it, the probe's process has ended.
            ends = [(span, above[0]) for span in of(spans, name="wait_for_exit_code", container=container)
                    if (above := spans.ancestors(span)) and above[0].name.endswith("/StartContainer")]
            assert [_end(end) for end, _ in ends] == [(137, "SIGKILL", oom_killed)]
            assert [end.attributes.get("podspan.oom_kill_counted") for end, _ in ends] == [(container == survivor) or None]
            assert all(end.start <= call.end <= end.end for end, call in ends)
        assert not of(spans, name="conmon", pod=pod.uid)


def test_memory_and_idle_cost():
    """At most 2 MB, and no CPU for processes that are nobody's."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, Watch(podspan) as watch:
        begin = watch.cpu_seconds()
        run("sh", "-c", "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done", timeout=120)
        assert watch.cpu_seconds() - begin <= 0.1
        assert watch.memory() <= 2_000_000
