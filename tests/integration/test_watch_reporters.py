"""podspan-watch where another program of podspan reports, and is killed before it can."""

import os
import signal
import time
from pathlib import Path

import pytest

from lib import conmon, cri
from lib.checks import HOOK
from lib.paths import built
from lib.process import wait_for
from lib.spans import ERROR
from lib.watch import WATCH, Watch, has, hook, of, one as one_span
from test_conmon_crio import MONITOR, crio_node
from test_watch import _make, _stock

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
        pid = one.direct("ContainerStatus", container_id=killed, verbose=True)
        init = wait_for(lambda: next((int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat")
                                      if parent(path) == monitor_of(killed)), None), "the container's process")
        assert pid
        time.sleep(2)  # the monitor has reported the runtime's call
        os.kill(monitor_of(killed), signal.SIGKILL)
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
        assert [span.service for span in waits(one.backend.spans(), kept)] == [MONITOR]
        assert not of(one.backend.spans(), name=MONITOR, container=kept)


def parent(path):
    """The parent of the process with this /proc/PID/stat."""
    try:
        return int(path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return None


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_wrapper_killed_by_the_runtime(runtime, tmp_path):
    """The hook exceeds its timeout, and the runtime kills the wrapper: podspan-watch reports both, with the stage."""
    slow = hook(tmp_path, "slow-hook", "exec sleep 60")
    with _stock(_make(f"crio-{runtime}", {"createRuntime": [WithTimeout(tmp_path)]})) as one, Watch(one.podspan):
        assert slow
        pod = cri.Pod(one.runtime)
        with pytest.raises(Exception):
            pod.run(one.client)
