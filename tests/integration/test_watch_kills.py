"""podspan-watch says how each container died: who sent the signal, whose limit the OOM killer enforced, which verdict."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from lib import cri
from lib.node import CONTAINERD, CRIO, node
from lib.otlp import Receiver
from lib.podspan import Podspan
from lib.process import wait_for
from lib.watch import Watch, bundle, of, one as one_span

RUNTIMES = {name: make for name, make in {**CONTAINERD, **CRIO}.items() if "1.6.20" not in name}
MEMORY = 32 << 20
GROW = "x=a; while :; do x=$x$x; done"
# How each of these ends is known before the program begins. glibc's abort() by process 1 ends in a fault.
CRASHES = """
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int argc, char **argv) {
        const char *how = argc > 1 ? argv[1] : "";
        if (strcmp(how, "segv") == 0)
                *(volatile char *) 8 = 1;
        if (strcmp(how, "abrt") == 0)
                abort();
        if (strcmp(how, "ill") == 0)
                __builtin_trap();
        prctl(PR_SET_PDEATHSIG, 9);
        if (write(1, "ready\\n", 6) < 0)
                return 1;
        sleep(1000);
        return 0;
}
"""


@pytest.fixture(name="crasher", scope="module")
def fixture_crasher(tmp_path_factory):
    """A static program that crashes as its argument says, or waits for its parent's death."""
    folder = tmp_path_factory.mktemp("crasher")
    for above in (folder, *folder.parents):
        if above.name.startswith("pytest-"):
            above.chmod(0o755)
    subprocess.run(["gcc", "-O1", "-static", "-o", folder / "crasher", "-x", "c", "-"], check=True, text=True, input=CRASHES)
    return folder / "crasher"


class Stage:
    """A pod whose containers die in known ways, and what was found out about each while it lived."""

    def __init__(self, one, crasher):
        self.one, self._mounts = one, {"/crasher": crasher}
        self.pod = cri.Pod(one.runtime).run(one.client)
        self.proof = {}

    def run(self, name, *command, **options):
        """Starts a container; returns its id."""
        return self.pod.start(self.one.client, name, command=command or ("sleep", "1000"), **options)

    def run_among_all(self, name, script):
        """Starts one in a pod that has the host's pid namespace; returns its id."""
        pod = cri.Pod(self.one.runtime, host_pid=True).run(self.one.client)
        self.pod.containers[name] = pod.start(self.one.client, name, command=("sh", "-c", script), host_pid=True)
        return self.pod.containers[name]

    def crash(self, how):
        """Starts one that crashes."""
        return self.run(how, "/crasher", how, mounts=self._mounts)

    def pid(self, name):
        """The pid of its first process, as the host has it."""
        info = self.one.direct("ContainerStatus", container_id=self.pod.containers[name], verbose=True).info["info"]
        return json.loads(info)["pid"]

    def play(self):
        """All deaths, one after the other."""
        self.run("good", "true")
        self.run("bad", "sh", "-c", "exit 7")
        self.run("host")
        os.kill(self.pid("host"), signal.SIGKILL)
        self.run("victim")
        self.proof["victim"] = self.run_among_all("killer", f"kill -KILL {self.pid('victim')}")
        self.run_among_all("self", "kill -USR1 $$")
        for how in ("segv", "abrt", "ill"):
            self.crash(how)
        self.run("stubborn")
        self.one.client("StopContainer", container_id=self.pod.containers["stubborn"], timeout=1)
        self.run("honours", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
        self._stop_when_ready("honours")
        self.run("oom", "sh", "-c", GROW, memory=MEMORY)
        self.run("child", "sh", "-c", f"sh -c 'echo 1000 >/proc/self/oom_score_adj; {GROW}'; exit 4", memory=MEMORY)
        self.run("exec", memory=MEMORY)
        assert self.one.client("ExecSync", container_id=self.pod.containers["exec"], cmd=["sh", "-c", f"echo 1000 >/proc/self/oom_score_adj; {GROW}"],
                               timeout=60).exit_code == 137
        self.one.client("StopContainer", container_id=self.pod.containers["exec"], timeout=0)

    def _stop_when_ready(self, name):
        # The handler is there once the shell has a child.
        pid = self.pid(name)
        wait_for(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii"), "the loop")
        self.one.client("StopContainer", container_id=self.pod.containers[name], timeout=60)

    def ends(self, names):
        """The spans of these containers' lives, by name."""
        ids = {name: self.pod.containers[name] for name in names}

        def all_there(spans):
            return all(any("process.executable.name" not in span.attributes and "podspan.exit.verdict" in span.attributes
                           for span in of(spans, name="wait_for_exit_code", container=identifier))
                       for identifier in ids.values())
        spans = self.one.backend.wait_for(all_there, "the ends")
        return {name: next(span for span in of(spans, name="wait_for_exit_code", container=identifier)
                           if "podspan.exit.verdict" in span.attributes) for name, identifier in ids.items()}


def _facts(span, *keys):
    return tuple(span.attributes.get(f"podspan.{key}") for key in keys)


def _program(pid):
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()


def _check(stage, runtime):
    ends = stage.ends(stage.pod.containers)
    verdicts = {name: span.attributes["podspan.exit.verdict"] for name, span in ends.items()}
    assert verdicts == {
        "good": "completed", "bad": "exited", "host": "killed", "victim": "killed", "killer": "completed", "self": "killed",
        "segv": "crashed", "abrt": "crashed", "ill": "crashed", "stubborn": "unknown", "honours": "unknown",
        "oom": "oom-container", "child": "exited", "exec": "unknown"}
    kill = ("kill.origin", "kill.signal", "kill.program", "kill.pid", "kill.uid", "kill.container.id")
    assert _facts(ends["host"], *kill) == ("host", "SIGKILL", _program(os.getpid()), os.getpid(), 0, None)
    origin, name, program, pid, uid, container = _facts(ends["victim"], *kill)
    assert (origin, name, program, uid, container) == ("container", "SIGKILL", "sh", 0, stage.proof["victim"])
    assert pid == ends["killer"].attributes["process.pid"]
    assert _facts(ends["self"], "kill.origin", "kill.signal", "kill.program") == ("self", "SIGUSR1", "sh")
    for how, number, ignored in (("segv", "SIGSEGV", None), ("abrt", "SIGSEGV", "SIGABRT"), ("ill", "SIGILL", None)):
        assert _facts(ends[how], "kill.origin", "kill.signal", "kill.pid", "kill.ignored") == ("kernel", number, None, ignored)
    # Why kubelet stops a container is known later: the stop, its sender and what was ignored are known now.
    stop = ("exit.missing", "kill.origin", "kill.signal", "kill.program", "kill.ignored", "stop.method")
    assert _facts(ends["stubborn"], *stop) == ("stop_reason", "host", "SIGKILL", runtime, "SIGTERM", "kill")
    assert _facts(ends["honours"], *stop) == ("stop_reason", None, None, None, None, "kill")
    assert _facts(ends["exec"], *stop)[:4] == ("stop_reason", "host", "SIGKILL", runtime)
    _check_ooms(stage, ends)


def _check_ooms(stage, ends):
    oom = ("oom.scope", "oom.limit_bytes", "oom.victim.program")
    assert _facts(ends["oom"], *oom) == ("container", MEMORY, "sh")
    assert _facts(ends["oom"], "oom.victim.pid") == (ends["oom"].attributes["process.pid"],)
    assert MEMORY / 2 < ends["oom"].attributes["podspan.oom.victim.rss_bytes"] < MEMORY * 2
    assert not ends["oom"].events and ends["oom"].attributes["podspan.memory.events.oom_kill"] == 1
    assert ends["good"].attributes["podspan.memory.events.oom_kill"] == 0
    # A child's is an event, and so is that of an exec'd process, which has facts of its own.
    for name in ("child", "exec"):
        assert _facts(ends[name], *oom) == (None, None, None)
        assert [event[0] for event in ends[name].events] == ["oom_kill"]
        attributes, = ends[name].event_attributes
        assert tuple(attributes[f"podspan.{key}"] for key in oom) == ("container", MEMORY, "sh")
    commands = [span for span in of(stage.one.backend.spans, name="wait_for_exit_code", container=stage.pod.containers["exec"])
                if "podspan.exit.verdict" not in span.attributes]
    assert [_facts(span, *oom) for span in commands] == [("container", MEMORY, "sh")]
    assert commands[0].attributes["podspan.oom_killed"]
    assert ends["exec"].event_attributes[0]["podspan.oom.victim.pid"] == commands[0].attributes["process.pid"]


@pytest.mark.parametrize("name", RUNTIMES)
def test_deaths(name, crasher):
    """Each way to die, with its facts and its verdict."""
    with node(RUNTIMES[name], stages=()) as one, Watch(one.podspan):
        stage = Stage(one, crasher)
        stage.play()
        _check(stage, name.rpartition("-")[2])


def _set_limit(group, limit):
    for path in (Path("/sys/fs/cgroup/memory") / group.strip("/") / "memory.limit_in_bytes",
                 Path("/sys/fs/cgroup") / group.strip("/") / "memory.max"):
        if path.exists():
            path.write_text(str(limit), encoding="ascii")
            return
    raise AssertionError(f"{group} has no limit")


@pytest.mark.parametrize("name", RUNTIMES)
def test_limit_of_the_pod(name, crasher):
    """The pod's limit, not the container's."""
    with node(RUNTIMES[name], stages=()) as one, Watch(one.podspan):
        stage = Stage(one, crasher)
        _set_limit(stage.pod.config().linux.cgroup_parent, MEMORY)
        stage.run("eater", "sh", "-c", f"echo 1000 >/proc/self/oom_score_adj; {GROW}", memory=2 * MEMORY)
        end = stage.ends(["eater"])["eater"]
        assert _facts(end, "exit.verdict", "oom.scope", "oom.limit_bytes", "oom.victim.program") == ("oom-pod", "pod", MEMORY, "sh")


def test_death_of_the_parent(tmp_path, crasher):
    """The signal that a process has asked for when its parent dies is not the parent's."""
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        podspan = stack.enter_context(Podspan(receiver.endpoint))
        folder = bundle(tmp_path / "pods" / "orphan")
        (folder / "rootfs" / "crasher").write_bytes(crasher.read_bytes())
        (folder / "rootfs" / "crasher").chmod(0o755)
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["process"]["args"] = ["/crasher", "wait"]
        config["linux"]["cgroupsPath"] = f"/orphan-{os.getpid()}"
        path.write_text(json.dumps(config), encoding="utf-8")
        stack.enter_context(Watch(podspan, bundle_root=tmp_path / "pods"))
        runtime = stack.enter_context(subprocess.Popen(
            ["runc", "--root", tmp_path / "root", "run", "--bundle", folder, f"orphan-{os.getpid()}"], stdout=subprocess.PIPE))
        stack.callback(subprocess.run, ["runc", "--root", tmp_path / "root", "delete", "--force", f"orphan-{os.getpid()}"], check=False)
        assert runtime.stdout.readline() == b"ready\n"
        runtime.kill()
        spans = receiver.wait_for(lambda spans: of(spans, name="wait_for_exit_code", container=f"orphan-{os.getpid()}"), "the end")
        end = one_span(spans, name="wait_for_exit_code", container=f"orphan-{os.getpid()}")
        assert _facts(end, "exit.verdict", "kill.origin", "kill.signal", "kill.program", "kill.pid") == (
            "killed", "parent", "SIGKILL", "runc", runtime.pid)
