"""podspan-watch, beside any other set of podspan."""

import json
import shutil
import signal
from pathlib import Path

from .paths import built, packaged
from .podspan import Notify
from .process import Daemon, Failed, run
from .spans import Spans

WATCH = "podspan-watch"

# As its unit has them.
_CAPABILITIES = "-all,+bpf,+perfmon,+dac_read_search"
_NICE = -10


class Watch:
    """Runs podspan-watch for a Podspan; a context manager. bundle_root: a folder of bundles that no engine names."""

    def __init__(self, podspan, nice=_NICE, bundle_root=None):
        self._podspan = podspan
        self._notify = Notify(podspan.folder / "watch-notify.sock")
        self.daemon = Daemon(
            "podspan-watch", [packaged("nice"), "-n", nice, packaged("setpriv"), f"--bounding-set={_CAPABILITIES}", built("podspan-watch"),
                              *podspan.options, *(["--bundle-root", bundle_root] if bundle_root else [])],
            podspan.folder, env={"NOTIFY_SOCKET": str(self._notify.path), "PODSPAN_SECCOMP": "kill"})
        try:
            self.daemon.wait_until(self._notify.ready, "READY=1")
        except BaseException:
            self.close()
            raise

    def reload(self):
        """Sends SIGHUP and waits until that is over."""
        times = self._notify.said("READY=1")
        self.daemon.signal(signal.SIGHUP)
        self.daemon.wait_until(lambda: self._notify.said("READY=1") > times, "READY=1")
        assert self._notify.said("RELOADING=1") == times

    def memory(self):
        """PSS in bytes."""
        rollup = Path(f"/proc/{self.daemon.pid}/smaps_rollup").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))

    def cpu_seconds(self):
        """CPU time so far."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def kernel_ns(self, work):
        """Nanoseconds that its kernel side takes while work() runs, by the kernel's own statistics."""
        switch = Path("/proc/sys/kernel/bpf_stats_enabled")
        before = self._run_time_ns()
        switch.write_text("1", encoding="ascii")
        try:
            work()
        finally:
            switch.write_text("0", encoding="ascii")
        return self._run_time_ns() - before

    def tracked(self):
        """The processes in the table of its kernel side."""
        for path in Path(f"/proc/{self.daemon.pid}/fdinfo").iterdir():
            for line in path.read_text(encoding="ascii").splitlines():
                if line.startswith("map_id:"):
                    table = ["id", line.split()[1]]
                    if json.loads(run(packaged("bpftool"), "--json", "map", "show", *table).stdout).get("name") == "tracked":
                        entries = json.loads(run(packaged("bpftool"), "--json", "map", "dump", *table).stdout)
                        return [int.from_bytes(bytes(int(byte, 16) for byte in entry["key"]), "little")
                                for entry in entries]
        raise Failed("no table of processes")

    def _run_time_ns(self):
        result = 0
        for path in Path(f"/proc/{self.daemon.pid}/fdinfo").iterdir():
            for line in path.read_text(encoding="ascii").splitlines():
                if line.startswith("run_time_ns:"):
                    result += int(line.split()[1])
        return result

    def close(self):
        """Ends it; its last spans are written."""
        self.daemon.signal(15)
        code = self.daemon.wait()
        self.daemon.stop()
        self._notify.close()
        if code != 0:
            raise Failed(f"podspan-watch ended with {code}:\n{self.daemon.log()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def of(spans, **wanted):
    """Spans of podspan-watch with this name, container, parent (a span's id) and pod (its UID)."""
    return Spans(span for span in spans.of(service=WATCH) if
                 wanted.get("name") in (None, span.name) and
                 wanted.get("container") in (None, span.attributes.get("container.id")) and
                 wanted.get("parent") in (None, span.parent_id) and
                 wanted.get("pod") in (None, span.resource.get("k8s.pod.uid")))


def one(spans, **wanted):
    """The only one of them."""
    found = of(spans, **wanted)
    assert len(found) == 1, f"{len(found)} spans for {wanted} among:\n{spans}"
    return found[0]


def has(*names, **wanted):
    """A condition: there is at least one of each name."""
    return lambda spans: {span.name for span in of(spans, **wanted)}.issuperset(names)


def bundle(folder, stages=None):
    """Makes a bundle whose container sleeps, with hooks."""
    programs = folder / "rootfs" / "bin"
    programs.mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", programs / "sleep")
    run("runc", "spec", "--bundle", folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["ociVersion"] = "1.0.2"
    config["process"].update(terminal=False, args=["/bin/sleep", "1000"])
    config["hooks"] = {stage: [{"path": command[0]} for command in commands] for stage, commands in (stages or {}).items()}
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def hook(folder, name, script):
    """The command of a hook that is a shell script."""
    path = folder / name
    # Of a hook that has gone before it was told of its container, crun dies.
    path.write_text(f"#!/bin/sh\nread -r state\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    for above in (folder, *folder.parents):
        if above.name.startswith(("pytest-", "test_")):
            above.chmod(0o755)
    return [str(path)]
