"""podspan-hook: under podman, in user namespaces, without an interceptor, by itself, and as a wrapper."""

import hashlib
import os
import secrets
import signal
import subprocess
import time

import pytest

from lib import cri, images
from lib.checks import CRI, HOOK, hooks_of
from lib.containerd import Containerd
from lib.otlp import Receiver
from lib.paths import built
from lib.podman import Podman
from lib.podspan import STAGES, Podspan
from lib.spans import Caller

ALL_STAGES = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
USER_NAMESPACE = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")


def derived_trace(identifier):
    """The trace id of a sandbox of which nobody handed on a context."""
    return hashlib.sha256(b"podspan1" + identifier.encode()).digest()[:16].hex()


def stages_of(spans):
    """The stages that hook spans name."""
    return {span.attributes.get("oci.hook.stage") for span in spans.of(service=HOOK)}


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("options", [
    (images.BUSYBOX, "true"),
    ("--read-only", images.BUSYBOX, "true"),
    ("--entrypoint", '["/sleeper", "0"]', "--stop-signal", "TERM", "--timeout", "1", images.SCRATCH),
], ids=["plain", "read-only", "from-scratch"])
def test_podman(runtime, options):
    """The shipped stages run under podman; without an interceptor the spans of a container share a trace."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        with Podman(runtime, hooks=podspan.hooks()) as podman:
            identifier = podman.folder / "id"
            podman.run("--cidfile", identifier, *options, check=False)
            container_id = identifier.read_text().strip()
            spans = receiver.wait_for(lambda spans: stages_of(spans) >= set(STAGES), "all shipped stages")
        assert spans.trace_ids() == {derived_trace(container_id)}
        assert {span.attributes["container.id"] for span in spans} == {container_id}


def test_podman_in_a_user_namespace():
    """crun in a user namespace: the shipped stages give spans, and no stage breaks the container."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        with Podman("crun", hooks=podspan.hooks(ALL_STAGES)) as podman:
            done = podman.run(*USER_NAMESPACE, images.BUSYBOX, "cat", "/proc/self/uid_map")
            assert done.stdout.split() == ["0", "100000", "65536"]
            receiver.wait_for(lambda spans: stages_of(spans) >= set(STAGES), "all shipped stages")


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_every_stage_that_resolves_on_the_host(runtime):
    """prestart and createContainer give spans too."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        with Podman(runtime, hooks=podspan.hooks(ALL_STAGES)) as podman:
            podman.run(images.BUSYBOX, "true")
            receiver.wait_for(lambda spans: stages_of(spans) >= set(ALL_STAGES), "all stages")


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_without_an_interceptor(runtime):
    """Level 1 alone: hook spans of a pod's containers share the trace derived from its sandbox."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        with Containerd("2.3.7", runtime, hooks=podspan.hooks()) as runtime_, runtime_.client() as client:
            pod = cri.Pod(runtime_).run(client)
            ids = {pod.start(client, "one"), pod.start(client, "two")}
            spans = receiver.wait_for(lambda spans: all(
                hooks_of(spans, container_id, stage) for container_id in ids
                for stage in ("createRuntime", "poststart")),
                "the hooks of both containers")
        assert not spans.of(service=CRI)
        assert spans.trace_ids() == {derived_trace(pod.sandbox_id)}
        assert {span.pod for span in spans} == {(pod.uid, pod.namespace, pod.name)}


def test_context_from_the_environment():
    """TRACEPARENT in the runtime's environment is the parent."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        caller = Caller()
        podspan.run_hook("createRuntime", state(), env={"TRACEPARENT": caller.traceparent})
        span = receiver.wait_for(bool, "a span").of(stage="createRuntime")[0]
        assert (span.trace_id, span.parent_id) == (caller.trace_id, caller.span_id)


def test_container_span():
    """createRuntime to poststop is a span of the container's life."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        container_id = secrets.token_hex(32)
        podspan.run_hook("createRuntime", state(container_id))
        time.sleep(0.3)
        podspan.run_hook("poststop", state(container_id, "stopped"))
        spans = receiver.wait_for(lambda spans: spans.of(service=HOOK, stage="poststop"), "poststop")
        longest = max(span.end - span.start for span in spans)
        assert 0.3e9 <= longest < 5e9, f"no span of the container's life:\n{spans}"


def state(container_id=None, status="creating", **annotations):
    """An OCI state."""
    return {"ociVersion": "1.0.2", "id": container_id or secrets.token_hex(32), "status": status, "pid": os.getpid(),
            "bundle": "/", "annotations": annotations}


@pytest.mark.parametrize("text", [
    "", "{", "null", "[]", '{"id": 7}', "\0" * 100, '{"id": "../../../etc/passwd", "pid": 1, "bundle": "/"}',
    '{"id": "x", "annotations": {"a": ' + '"' + "b" * (2 << 20) + '"}}', "[" * 500_000,
], ids=["empty", "cut", "null", "list", "wrong-type", "zeros", "path", "too-long", "deep"])
@pytest.mark.parametrize("stage", STAGES)
def test_bad_input_never_fails(stage, text):
    """Whatever comes in, the hook exits 0 and says nothing on standard output."""
    with Podspan() as podspan:
        begin = time.monotonic()
        done = subprocess.run([str(part) for part in podspan.hook(stage)], input=text.encode(), capture_output=True,
                              timeout=20, check=False)
        assert done.returncode == 0 and done.stdout == b""
        assert time.monotonic() - begin < 5
        assert podspan.agent.alive()


def test_input_that_never_ends():
    """Standard input stays open: the hook ends by itself within a bounded time."""
    with Podspan() as podspan:
        read_end, write_end = os.pipe()
        try:
            begin = time.monotonic()
            done = subprocess.run([str(part) for part in podspan.hook("createRuntime")], stdin=read_end,
                                  capture_output=True, timeout=30, check=False)
        finally:
            os.close(read_end)
            os.close(write_end)
        assert done.returncode == 0
        assert time.monotonic() - begin < 10


def test_nothing_installed(tmp_path):
    """Without a state directory or a configuration the hook exits 0 and makes nothing."""
    done = subprocess.run([built("podspan-hook"), "--stage", "createRuntime", "--config", tmp_path / "none.conf",
                           "--state-dir", tmp_path / "none"], input=b"{}", timeout=10, check=False)
    assert done.returncode == 0
    assert not list(tmp_path.iterdir())


def test_hook_is_static():
    """The hook loads no library: in a from-scratch image there is none."""
    headers = subprocess.run(["readelf", "--program-headers", built("podspan-hook")], capture_output=True, text=True,
                             check=True).stdout
    assert "INTERP" not in headers


def wrap(podspan, *command, **kwargs):
    """podspan-hook wrap -- COMMAND."""
    return subprocess.run([built("podspan-hook"), "wrap", *podspan.options, "--", *command], capture_output=True,
                          timeout=20, check=False, **kwargs)


def test_wrap_changes_nothing():
    """Input, output, errors, exit code and arguments of a wrapped hook are its own."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        data = secrets.token_bytes(300_000)
        done = wrap(podspan, "sh", "-c", 'cat; echo "$1" >&2; exit 42', "sh", "an argument", input=data)
        assert (done.stdout, done.stderr, done.returncode) == (data, b"an argument\n", 42)
        span = receiver.wait_for(bool, "a span").one(service=HOOK)
        assert span.attributes["process.exit.code"] == 42
        assert span.attributes["process.executable.name"] == "sh"


def test_wrap_measures_and_hands_on():
    """The wrapped hook's span has its duration, and the hook gets the context of that span."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        caller = Caller()
        done = wrap(podspan, "sh", "-c", 'sleep 0.2; echo "$TRACEPARENT"', input=b"{}",
                    env={**os.environ, "TRACEPARENT": caller.traceparent})
        span = receiver.wait_for(bool, "a span").one(service=HOOK)
        assert (span.trace_id, span.parent_id) == (caller.trace_id, caller.span_id)
        assert done.stdout.decode().strip() == f"00-{span.trace_id}-{span.span_id}-01"
        assert 0.2e9 <= span.end - span.start < 2e9


def test_wrap_passes_signals():
    """A signal that ends the wrapped hook is seen by the caller; one sent to the wrapper reaches the hook."""
    with Podspan() as podspan:
        assert wrap(podspan, "sh", "-c", "kill -KILL $$").returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        process = subprocess.Popen(
            [built("podspan-hook"), "wrap", *podspan.options, "--", "sh", "-c",
             "trap 'echo caught; exit 3' TERM; echo up; while :; do sleep 0.05; done"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.read() == "caught\n"
        assert process.wait(10) == 3


def test_wrap_of_a_missing_program():
    """A hook that cannot be started fails as it does without us."""
    with Podspan() as podspan:
        assert wrap(podspan, "/no/such/program", input=b"{}").returncode != 0
