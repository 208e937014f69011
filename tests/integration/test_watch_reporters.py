"""podspan-watch where another program of podspan reports, and is killed before it can."""

import os
import signal
import time
from pathlib import Path

import grpc
import pytest

from lib import conmon, cri
from lib.checks import HOOK
from lib.crio import Crio
from lib.otlp import Receiver
from lib.paths import built
from lib.podspan import Podspan
from lib.process import wait_for
from lib.spans import ERROR
from lib.watch import WATCH, Watch, has, hook, of, one as one_span
from test_conmon_crio import MONITOR, crio_node

HOOK_TIMEOUT = 2  # seconds; OCI's unit


def monitor_of(container):
    """The pid of the container's monitor."""
    def find():
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(MONITOR.encode()) and container.encode() in words:
                return int(path.parent.name)
        return None
    return wait_for(find, "the monitor")


def waits(spans, container):
    """How the container ended, whoever says so."""
    return [span for span in spans if span.name == "wait_for_exit_code" and span.attributes.get("container.id") == container]


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_killed_monitor(runtime):
    """SIGKILL for the monitor: podspan-watch reports the monitor's end, and the container's when that comes."""
    with crio_node(runtime, conmon.subject()) as one, Watch(one.podspan):
        pod = cri.Pod(one.runtime).run(one.client)
        kept, killed = (pod.start(one.client, name, command=("sh", "-c", "while [ ! -e /end ]; do sleep 0.1; done; exit 5"))
                        for name in ("kept", "killed"))
        monitor_pid = monitor_of(killed)
        init = int(Path(f"/proc/{monitor_pid}/task/{monitor_pid}/children").read_text(encoding="ascii").split()[0])
        time.sleep(2)  # the monitor has reported the runtime's call
        os.kill(monitor_pid, signal.SIGKILL)
        spans = one.backend.wait_for(has(MONITOR, container=killed), "the monitor's end")
        monitor = one_span(spans, name=MONITOR, container=killed)
        assert monitor.status == ERROR and monitor.attributes["error.type"] == "SIGKILL"
        assert monitor.pod == (pod.uid, pod.namespace, pod.name)
        assert not waits(spans, killed)

        Path(f"/proc/{init}/root/end").touch()
        spans = one.backend.wait_for(has("wait_for_exit_code", container=killed), "the container's end")
        assert [(span.service, span.attributes["process.exit.code"]) for span in waits(spans, killed)] == [(WATCH, 5)]
        assert waits(spans, killed)[0].trace_id == monitor.trace_id

        one.direct("StopContainer", container_id=kept, timeout=0)
        spans = one.backend.wait_for(lambda spans: waits(spans, kept), "the other container's end")
        time.sleep(1)
        assert [span.service for span in waits(one.backend.spans, kept)] == [MONITOR]
        assert not of(one.backend.spans, name=MONITOR, container=kept)


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_wrapper_killed_by_the_runtime(runtime, tmp_path):
    """The hook exceeds its timeout, and the runtime kills the wrapper: podspan-watch reports both, with the stage."""
    slow = hook(tmp_path, "slow-hook", "exec sleep 60")
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        command = [str(part) for part in (built("podspan-hook"), "wrap", "--stage", "createRuntime", *podspan.options, "--", *slow)]
        hooks = {"createRuntime": [{"path": command[0], "args": command, "timeout": HOOK_TIMEOUT}]}
        with Crio(runtime, hooks=hooks) as crio, crio.client() as client, Watch(podspan):
            pod = cri.Pod(crio).run(client)
            with pytest.raises(grpc.RpcError):
                pod.start(client, "main")
            spans = receiver.wait_for(has("podspan-hook", "slow-hook", pod=pod.uid), "the wrapper and the hook")
        wrapper, slowest = (one_span(spans, name=name, pod=pod.uid) for name in ("podspan-hook", "slow-hook"))
        create = one_span(spans, name=f"{runtime} create", pod=pod.uid)
        assert (slowest.parent_id, wrapper.parent_id) == (wrapper.span_id, create.span_id)
        for span in (wrapper, slowest):
            assert span.status == ERROR and span.attributes["error.type"] == "SIGKILL"
            assert span.attributes["oci.hook.stage"] == "createRuntime"
            assert (HOOK_TIMEOUT - 0.5) * 1e9 <= span.end - span.start <= create.end - create.start
        assert not spans.of(service=HOOK)


def test_wrapper_that_reports(tmp_path):
    """A wrapped hook that ends in time is reported once, by its wrapper, also if a signal ended it."""
    for name, script in (("good-hook", "exit 0"), ("bad-hook", "kill -KILL $$")):
        command = hook(tmp_path, name, script)
        with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
            wrap = [str(part) for part in (built("podspan-hook"), "wrap", *podspan.options, "--", *command)]
            with Crio("runc", hooks={"createRuntime": [wrap]}) as crio, crio.client() as client, Watch(podspan):
                pod = cri.Pod(crio).run(client)
                try:
                    pod.start(client, "main")
                except grpc.RpcError:
                    assert name == "bad-hook"
                receiver.wait_for(has("runc create", pod=pod.uid), "the runtime's call")
                spans = receiver.wait_quiet()
            assert not of(spans, name=name) and not of(spans, name="podspan-hook")
            assert [span.name for span in spans.of(service=HOOK)] == [name]
