"""What others do in order to be taken for a runtime: podspan-watch believes none of it, and stays up."""

import signal
import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from lib.node import CONTAINERD, CRIO, MODERN, node
from lib.paths import packaged
from lib.process import Daemon, run, wait_for
from lib.spans import Caller
from lib.watch import Watch, has, of
from lib.watch import one as watch_one

NOBODY = 65534
SIZE = 100 << 20


def _bundle(one, container):
    """Where containerd keeps the bundle of a container."""
    return one.runtime.folder / "state" / "io.containerd.runtime.v2.task" / "k8s.io" / container


def _make(**options):
    return CONTAINERD[MODERN](**{**options, "hooks": {}})


def _program(folder, name, uid=0):
    """A program that does nothing, called as we like."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/true", path)
    os.chown(path, uid, uid)
    return path


class Attack:
    """Runs programs with the command line of a runtime that creates the victim's container once more."""

    def __init__(self, victim, bundle, caller):
        self._arguments = ["create", "--bundle", str(bundle), victim]
        self._environment = {"PATH": "/usr/bin:/bin", "TRACEPARENT": caller.traceparent}
        self.pids = set()

    def run(self, *program, user=0, environment=None):
        """Runs a program to its end."""
        done = subprocess.Popen([*map(str, program), *self._arguments], user=user, group=user, extra_groups=[],
                                env={**self._environment, **(environment or {})}, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.pids.add(done.pid)
        done.wait(20)


def _attack_as_nobody(attack, folder, cni):
    """Programs of a user's own, and root's under another name, as a user."""
    script = folder / "script" / "runc"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    script.chmod(0o755)
    links = folder / "links"
    links.mkdir()
    for name in ("runc", "crun", "conmon", "containerd-shim-runc-v2"):
        (links / name).symlink_to("/bin/true")
    attack.run(_program(folder / "own", "runc", NOBODY), user=NOBODY)
    attack.run(script, user=NOBODY)
    for name in ("runc", "crun"):
        attack.run(links / name, user=NOBODY)
    attack.run(links / "conmon", "-b", attack._arguments[2], "-c", attack._arguments[3], user=NOBODY)
    attack.run(links / "containerd-shim-runc-v2", "-id", attack._arguments[3], "start", user=NOBODY)

    # What is root's by its set-user-ID bit, not by who runs it.
    risen = _program(folder / "risen", "runc")
    risen.chmod(0o4755)
    attack.run(risen, user=NOBODY)

    # An engine of the user's own, with a network plugin and a runtime below it.
    (links / "containerd").symlink_to("/bin/sh")
    plugin = _program(folder / "own", "bridge", NOBODY)
    attack.run(links / "containerd", "-c", f'{plugin}; {links / "runc"} "$@"; :', "sh", user=NOBODY, environment=cni)


def test_nobody_is_taken_for_a_runtime(tmp_path):
    """Inside of containers, in other pid namespaces, as a user: not a span of the victim's, nor in its trace."""
    for above in (tmp_path, *tmp_path.parents):
        if above.name.startswith(("pytest-", "test_")):
            above.chmod(0o755)
    with node(_make, stages=()) as one:
        (tmp_path / "links0").mkdir()
        engine = tmp_path / "links0" / "containerd"
        engine.symlink_to("/bin/sh")
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        # Runs already when podspan-watch starts, in a pid namespace of its own: an engine inside of a container.
        nested = subprocess.Popen(
            ["unshare", "--pid", "--fork", engine, "-c",
             f"read x <{fifo}; CNI_COMMAND=ADD CNI_ARGS=K8S_POD_UID=$x /usr/bin/env; /usr/bin/env true; :"],
            stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        wait_for(lambda: b"containerd" in b"".join(
            open(f"/proc/{pid}/cmdline", "rb").read() for pid in
            open(f"/proc/{nested.pid}/task/{nested.pid}/children", encoding="ascii").read().split()), "it runs")

        with Watch(one.podspan):
            caller = Caller()
            pod = one.pod(caller)
            main = pod.containers["main"]
            spans = one.backend.wait_for(has("entrypoint", "runc start", container=main), "the start")
            before = sorted(span.name for span in of(spans.of(trace_id=caller.trace_id)))
            attack = Attack(main, _bundle(one, main), caller)
            cni = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": pod.sandbox_id, "CNI_IFNAME": "eth0",
                   "CNI_ARGS": f"K8S_POD_UID={pod.uid};K8S_POD_NAME={pod.name};K8S_POD_NAMESPACE={pod.namespace}"}

            _attack_as_nobody(attack, tmp_path, cni)
            attack.run("unshare", "--pid", "--fork", _program(tmp_path / "root", "runc"))
            attack.run("unshare", "--pid", "--fork", engine, "-c", f'{tmp_path / "root" / "runc"} "$@"; :', "sh",
                       environment=cni)
            attack.run(_program(tmp_path / "root", "bridge"), environment=cni)
            fifo.write_text(f"{pod.uid}\n", encoding="ascii")
            nested.wait(20)
            script = ("cp /bin/busybox /tmp/runc; ln -s /bin/busybox /tmp/containerd; "
                      f"/tmp/runc {' '.join(attack._arguments)}; CNI_COMMAND=ADD CNI_ARGS=K8S_POD_UID={pod.uid} "
                      "/tmp/containerd; true")
            one.client("ExecSync", container_id=main, cmd=["sh", "-c", f"mkdir -p /tmp; {script}"], timeout=10)

            # What comes after all that has been seen.
            one.client("ExecSync", container_id=main, cmd=["false"], timeout=10)
            spans = one.backend.wait_for(has("runc exec", container=main), "the probe that fails")
            told = of(spans.of(trace_id=caller.trace_id))
            assert sorted(span.name for span in told) == before
            for span in of(spans):
                assert span.attributes.get("process.pid") not in attack.pids, f"{span} {span.attributes}"
                if pod.uid != span.pod[0] and main != span.attributes.get("container.id"):
                    continue
                assert span in told or "runc exec" in {top.name for top in (span, *spans.ancestors(span))} or (
                    span.name == "wait_for_exit_code"), span


# What a container with the host's pids and a file of root's own called "runc" does; $1 is the bundle, $2 the victim,
# $3 its pod's UID, $4 a file that says go.
_IN_A_CONTAINER = """
mkdir -p /tmp; cp /bin/busybox /tmp/runc; cp /bin/busybox /tmp/crun; ln -s /bin/busybox /tmp/containerd
ln -s /bin/busybox /tmp/containerd-shim-runc-v2
cat >/tmp/attack <<'END'
/tmp/runc create --bundle $1 $2
/tmp/crun create --bundle $1 $2
(setsid /tmp/runc create --bundle $1 $2 &)
CNI_COMMAND=ADD CNI_CONTAINERID=$2 CNI_ARGS="K8S_POD_UID=$3;K8S_POD_NAME=x;K8S_POD_NAMESPACE=x" /tmp/runc true
CNI_COMMAND=ADD CNI_CONTAINERID=$2 CNI_ARGS="K8S_POD_UID=$3;K8S_POD_NAME=x;K8S_POD_NAMESPACE=x" /bin/true
test -d /host && chroot /host $5 create --bundle $1 $2
true
END
# Two that run already when they are looked for, with a child each.
for name in containerd containerd-shim-runc-v2
do
    (exec -a sh /tmp/$name -c 'sleep 300 & until test -e $4; do sleep 0.05; done; . /tmp/attack; sleep 300' \
        sh "$@") &
done
until test -e $4; do sleep 0.05; done
. /tmp/attack
(exec -a sh /tmp/containerd -c '. /tmp/attack; true' sh "$@")
(exec -a sh /tmp/containerd-shim-runc-v2 -id $2 -c '. /tmp/attack; true' sh "$@")
touch /tmp/done
sleep 300
"""


def test_a_pod_with_the_hosts_pids(tmp_path):
    """Without a capability, and with those that a pod has by default and the host's files: none of its processes is
    taken for the host's, and nothing is told of the pod that they name.
    """
    for above in (tmp_path, *tmp_path.parents):
        if above.name.startswith(("pytest-", "test_")):
            above.chmod(0o755)
    program, go = _program(tmp_path / "root", "runc"), tmp_path / "go"
    with node(_make, stages=()) as one:
        victim = one.pod()
        main = victim.containers["main"]
        bundle = _bundle(one, main)
        attackers = []
        for container in ({"drop": ["ALL"], "mounts": {"/signal": tmp_path}},
                          {"mounts": {"/signal": tmp_path, "/host": "/"}}):
            attackers.append(one.pod(host_pid=True, container={
                "host_pid": True, **container,
                "command": ["sh", "-c", _IN_A_CONTAINER, "sh", str(bundle), main, victim.uid, "/signal/go",
                            str(program)]}))
        with Watch(one.podspan):
            one.client("ExecSync", container_id=main, cmd=["false"], timeout=10)
            one.backend.wait_for(has("runc exec", container=main), "a probe that fails is told")
            go.touch()
            for pod in attackers:
                done = ["sh", "-c", "until test -e /tmp/done; do sleep 0.05; done"]
                one.client("ExecSync", container_id=pod.containers["main"], cmd=done, timeout=50)
            # What comes after all that has been seen.
            for pod in (victim, *attackers):
                one.client("StopContainer", container_id=pod.containers["main"], timeout=0)
            spans = one.backend.wait_for(
                lambda spans: all(of(spans, name="wait_for_exit_code", container=pod.containers["main"])
                                  for pod in (victim, *attackers)), "the ends")
            # All pods had been started before: nobody but the attackers creates anything.
            names = {pod.uid for pod in (victim, *attackers)} | {pod.sandbox_id for pod in (victim, *attackers)} | {
                pod.containers["main"] for pod in (victim, *attackers)}
            for span in of(spans):
                if names.isdisjoint({span.pod[0], span.attributes.get("container.id")}):
                    continue
                assert not span.name.endswith(" create") and "cni" not in span.name, f"{span} {span.attributes}"
            probes = {span.trace_id for span in of(spans, name="runc exec")}
            for pod in (victim, *attackers):
                ends = [span for span in of(spans, name="wait_for_exit_code", container=pod.containers["main"])
                        if span.trace_id not in probes]
                assert len(ends) == 1, [(str(span), span.attributes) for span in ends]


_ORPHANS = 150


def _cgroup(pid):
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_orphans_of_a_pod_with_the_hosts_pids():
    """They become the monitor's children, and are no containers: they take no room in the kernel side's table."""
    script = f"i=0; while test $i -lt {_ORPHANS}; do (sleep 300 &); i=$((i + 1)); done; touch /tmp/done; sleep 300"
    with node(_make, stages=()) as one:
        pod = one.pod(host_pid=True, container={"host_pid": True, "drop": ["ALL"],
                                                "command": ["sh", "-c", f"mkdir -p /tmp; {script}"]})
        main = pod.containers["main"]
        done = ["sh", "-c", "until test -e /tmp/done; do sleep 0.05; done"]
        one.client("ExecSync", container_id=main, cmd=done, timeout=50)
        with Watch(one.podspan) as watch:
            assert [main in _cgroup(pid) for pid in watch.tracked()].count(True) == 1
            # StopContainer would end when the last of them does, one after the other.
            for pid in [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]:
                if main in _cgroup(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            spans = one.backend.wait_for(has("wait_for_exit_code", container=main), "the container's end")
            end = watch_one(spans, name="wait_for_exit_code", container=main)
            assert end.attributes["process.exit.code"] == 137 and end.pod[0] == pod.uid


USERS_MAX = 2048  # TRACK_USERS_MAX
# $0 is a shell called as a runtime is: all below it is followed.
_STORM = """
i=0; while test $i -lt 2600; do sleep 300 & i=$((i + 1)); done
touch $1
while :; do /bin/true; done
"""


def test_storm_of_a_user(tmp_path):
    """A user's link to a shell of root's, called runc, with thousands of processes below it: they have a part of the
    table, and a pod that starts meanwhile is told whole.
    """
    for above in (tmp_path, *tmp_path.parents):
        if above.name.startswith(("pytest-", "test_")):
            above.chmod(0o755)
    links, done = tmp_path / "links", tmp_path / "users"
    links.mkdir()
    done.mkdir()
    os.chown(done, NOBODY, NOBODY)
    (links / "runc").symlink_to("/bin/sh")
    with node(_make, stages=()) as one, Watch(one.podspan) as watch:
        storm = Daemon("storm", [packaged("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                                 links / "runc", "-c", _STORM, "sh", done / "done"], tmp_path)
        try:
            wait_for((done / "done").exists, "the storm is there", timeout=60)
            owners = [_owner(pid) for pid in watch.tracked()]
            assert USERS_MAX / 2 < owners.count(NOBODY) <= USERS_MAX
            pod = one.pod()
            main = pod.containers["main"]
            spans = one.backend.wait_for(has("entrypoint", "runc create", "runc start", container=main), "the start")
            assert not [span for span in of(spans, pod=pod.uid) if span.attributes.get("podspan.incomplete")]
            counters = one.podspan.cli_json("status")["counters"]["podspan-watch"]
            assert counters["watch_crowded"] >= 2600 - USERS_MAX
        finally:
            storm.stop()


def _owner(pid):
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except FileNotFoundError:
        return None


def test_bundles_that_are_none(tmp_path):
    """Root's own runtime with bundles that are links, pipes or huge: each is a span, and nothing blocks."""
    with node(_make, stages=()) as one, Watch(one.podspan, bundle_root=one.podspan.folder) as watch:
        pod = one.pod()
        main = pod.containers["main"]
        runc = _program(tmp_path, "runc")
        bundles = one.podspan.folder / "bundles"
        for name in ("link", "fifo", "huge", "folder"):
            (bundles / name).mkdir(parents=True)
        victim = _bundle(one, main)
        (bundles / "link" / "config.json").symlink_to(victim / "config.json")
        (bundles / "linked").symlink_to(victim)
        os.mkfifo(bundles / "fifo" / "config.json")
        with open(bundles / "huge" / "config.json", "wb") as huge:
            huge.write(b'{"annotations": {"io.kubernetes.cri.sandbox-uid": "' + pod.uid.encode() + b'"')
            huge.truncate(SIZE)
        (bundles / "folder" / "config.json").mkdir()
        cases = {name: bundles / name for name in ("link", "linked", "fifo", "huge", "folder", "none")}
        cases["up"] = victim / ".." / ".." / ".." / ".." / ".." / ".." / "etc"
        for name, bundle in cases.items():
            run(runc, "create", "--bundle", bundle, f"hostile-{name}")
        spans = one.backend.wait_for(lambda spans: all(of(spans, container=f"hostile-{name}") for name in cases),
                                     "a span for each")
        trace = spans.one(pod=pod.uid, method="RunPodSandbox").trace_id
        for name in cases:
            for span in of(spans, container=f"hostile-{name}"):
                assert span.pod[0] is None and span.trace_id != trace
        assert watch.cpu_seconds() < 1


def test_configuration_of_another():
    """CRI-O's configuration belongs to a user: it does not tell podspan-watch what to read. What it cannot read it
    counts and names, and the pod is known by CRI-O's name for it.
    """
    make = CRIO["crio-runc"]
    with node(lambda **options: make(**{**options, "hooks": {}}), stages=()) as one:
        config = one.runtime.folder / "crio.conf"
        os.chown(config, NOBODY, NOBODY)
        with Watch(one.podspan) as watch:
            caller = Caller()
            pod = one.pod(caller)
            spans = one.backend.wait_for(has("conmon", "runc create", pod=pod.uid), "conmon and runc")
            call = spans.one(pod=pod.uid, method="CreateContainer")
            monitor = watch_one(spans, name="conmon", parent=call.span_id, pod=pod.uid)
            watch_one(spans, name="runc create", parent=monitor.span_id, pod=pod.uid)
            log = watch.daemon.log()
            assert f"Cannot use {config}" in log and "Cannot read the bundle " in log
            assert one.podspan.cli_json("status")["counters"]["podspan-watch"]["watch_bundle_unreadable"] >= 1


def test_folders_of_the_engine():
    """A CRI-O with a root and runroot of its own: nothing is unreadable, and hooks have their stages."""
    make = CRIO["crio-runc"]
    with node(make, stages=("createRuntime",)) as one, Watch(one.podspan) as watch:
        pod = one.pod()
        spans = one.backend.wait_for(has("conmon", "runc create", pod=pod.uid), "conmon and runc")
        call = spans.one(pod=pod.uid, method="CreateContainer")
        watch_one(spans, name="conmon", parent=call.span_id, container=pod.containers["main"])
        assert f"Cannot read the bundle {one.runtime.folder}" not in watch.daemon.log()
