"""What others do in order to be taken for a runtime: podspan-watch believes none of it, and stays up."""

import os
import shutil
import subprocess

from lib.node import CONTAINERD, MODERN, node
from lib.process import run, wait_for
from lib.spans import Caller
from lib.watch import Watch, has, of

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


def test_bundles_that_are_none(tmp_path):
    """Root's own runtime with bundles that are links, pipes or huge: each is a span, and nothing blocks."""
    with node(_make, stages=()) as one, Watch(one.podspan) as watch:
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
