"""A node for staged incidents: one engine, podspand, podspan-cri and podspan-watch, shared by its incidents.

A stage gets a World and makes containers with box(). What happens to a container is up to the stage.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import grpc

from lib import cri
from lib.containerd import Containerd
from lib.crio import Crio
from lib.kubelet import Kubelet
from lib.paths import built, packaged
from lib.podman import Podman
from lib.podspan import Podspan
from lib.process import Failed, run, wait_for
from lib.reaper import descendants
from lib.watch import Watch

from .registry import StallingRegistry

HERE = Path(__file__).resolve().parent
BUSYBOX = "localhost/busybox:1"
GO, END = "go", "end"

# A plugin whose behaviour for one pod is a file that a stage puts there; else it sets up nothing and says so.
_PLUGIN = """#!/bin/sh
pod=${{CNI_ARGS#*K8S_POD_NAME=}}
pod=${{pod%%;*}}
case $CNI_COMMAND in
VERSION) echo '{{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}}'; exit 0 ;;
esac
[ ! -e "{folder}/cni-$CNI_COMMAND-$pod" ] || . "{folder}/cni-$CNI_COMMAND-$pod"
[ "$CNI_COMMAND" != ADD ] || echo '{{"cniVersion":"0.4.0","interfaces":[{{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}}],
"ips":[{{"version":"4","address":"10.99.0.9/24","gateway":"10.99.0.1","interface":0}}]}}'
"""
_DRIVER = """#!/bin/sh
case $1 in
init) echo '{{"status":"Success","capabilities":{{"attach":false}}}}' ;;
mount) echo $$ >{folder}/driver.new; mv {folder}/driver.new {folder}/driver.pid; exec {program} hold ;;
*) echo '{{"status":"Success"}}' ;;
esac
"""
# The same for a createRuntime hook, by the container's name.
_HOOK = """#!/bin/sh
read -r state
for behaviour in "{folder}"/hook-*; do
	name=${{behaviour##*/}}
	case $state in *"\\"$name\\""*) . "$behaviour" ;; esac
done
exit 0
"""


@functools.lru_cache(maxsize=None)
def victim():
    """The static program that stages run, built once."""
    path = Path(tempfile.mkdtemp(prefix="victim-")) / "victim"
    run("gcc", "-Os", "-static", "-s", "-Wall", "-Werror", "-o", path, HERE / "victim.c")
    return path


def stat_field(pid, number):
    """A field of /proc/PID/stat, counted as in proc(5); None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except OSError:
        return None
    return text.rpartition(")")[2].split()[number - 3]


def comm(pid):
    """A process's name; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="latin-1").rstrip("\n")
    except OSError:
        return None


def ended(pid):
    """Is the process gone, or dead and not collected?"""
    return stat_field(pid, 3) in (None, "Z", "X")


def parent(pid):
    """A process's parent."""
    return int(stat_field(pid, 4))


def wait_child(pid, name, timeout=20):
    """The process of this name below another one."""
    return wait_for(lambda: next((child for child in descendants(pid) if comm(child) == name), None),
                    f"{name} below {pid}", timeout)


class Box:
    """A container. `shared` is a folder that it sees as /in: a stage touches files there."""

    def __init__(self, world, name, shared):
        self.world, self.name, self.shared = world, name, shared
        self.id, self.pid, self.pod = None, None, None

    def touch(self, name=GO):
        """Lets the container go on."""
        (self.shared / name).touch()

    def write(self, name, text):
        """A file for the container, complete at once."""
        new = self.shared / f".{name}"
        new.write_text(str(text), encoding="utf-8")
        new.rename(self.shared / name)

    def wait(self, timeout=30):
        """Waits until the container's first process has ended."""
        wait_for(lambda: ended(self.pid), f"{self.name} ends", timeout)

    def child(self, name, timeout=20):
        """The host's pid of a process of this name below the first one."""
        return wait_child(self.pid, name, timeout)

    def proof(self, **more):
        """What an answer about this container has to know."""
        result = {"container": self.id, "pid": self.pid, "name": self.name, "monitor": None}
        if self.pod is not None:
            result.update(pod=self.pod.name, uid=self.pod.uid, sandbox=self.pod.sandbox_id)
        return {**result, **more}


class World:
    """What all engines have in common; a context manager."""

    def __init__(self, name):
        self.name = name
        self.engine, self.oci = name.split("-")
        self.folder = Path(tempfile.mkdtemp(prefix="incidents-"))
        os.chmod(self.folder, 0o755)
        self._stack = contextlib.ExitStack()
        self._lock, self._programs = threading.Lock(), threading.Lock()
        self._serial = 0
        self._processes = []
        self.podspan = self.watch = self.runtime = None

    def _number(self):
        with self._lock:
            self._serial += 1
            return self._serial

    def __enter__(self):
        try:
            victim()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends everything."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_podspan(self):
        self.podspan = self._stack.enter_context(Podspan())

    def _start_watch(self):
        self.watch = self._stack.enter_context(Watch(self.podspan))

    def _script(self, name, text):
        path = self.folder / name
        path.write_text(text.format(folder=self.folder), encoding="utf-8")
        path.chmod(0o755)
        return path

    def _hooks(self):
        hooks = self.podspan.hooks()
        hooks["createRuntime"].append([str(self._script("staged-hook", _HOOK))])
        return hooks

    def behave(self, kind, text):
        """Puts the behaviour of a plugin or hook there; kind as in _PLUGIN and _HOOK."""
        new = self.folder / f".{kind}"
        new.write_text(text, encoding="utf-8")
        new.rename(self.folder / kind)

    def spawn(self, *command, **options):
        """A program of the host's that ends with the world at the latest."""
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        self._processes.append(process)
        return process

    def kill(self, pid, signal="KILL"):
        """Sends a signal from a program of the host's; returns what a proof says of it."""
        process = self.spawn(packaged("kill"), f"-{signal}", pid)
        process.wait()
        return {"killer": process.pid, "killer_program": "kill", "signal": f"SIG{signal}"}

    def program(self, name):
        """The victim under another name."""
        path = self.folder / name
        with self._programs:
            if not path.exists():
                shutil.copy(victim(), self.folder / f".{name}")
                os.rename(self.folder / f".{name}", path)
        return path

    def unique(self, name):
        """A name that nothing else here has."""
        return f"{name}-{self.engine}-{self.oci}-{self._number()}"

    def _shared(self, name):
        shared = self.folder / f"in-{name}"
        shared.mkdir()
        shutil.copy(victim(), shared / "victim")
        shutil.copy(victim(), shared / "eater")
        return shared

    def box(self, command, **options):
        """Makes and starts a container whose command may use /in: victim, eater, and what a stage writes."""
        raise NotImplementedError

    def ask(self, *arguments):
        """Runs `podspan …`; returns the finished process, whatever its exit code."""
        return run(built("podspan"), *arguments, *self.podspan.options, "--store-dir", self.podspan.store, check=False,
                   timeout=60, env={**os.environ, "TERM": "dumb", "COLUMNS": "80"})


class CriWorld(World):
    """containerd or CRI-O behind podspan-cri; kubelet where a stage asks for it."""

    def __init__(self, name):
        super().__init__(name)
        self.client = self.direct = self.registry = None
        self._kubelet = None

    def _make(self):
        if self.engine == "containerd":
            return Containerd("2.3.7" if self.oci == "runc" else "1.6.20", self.oci, hooks=self._hooks(),
                              registries=[self.registry.address], restarts=True)
        monitor = {}
        if self.oci == "crun":
            monitor = {"monitor": built("podspan-conmon"), "monitor_env": self.podspan.monitor_env}
        return Crio(self.oci, hooks=self._hooks(), registries=[self.registry.address], **monitor)

    def _start(self):
        self._start_podspan()
        self.registry = self._stack.enter_context(StallingRegistry())
        runtime = self._make()
        runtime._cni_script = _PLUGIN.format(folder=self.folder)  # pylint: disable=protected-access
        # Before the engine, so that nothing of it has begun unseen.
        self._start_watch()
        self.runtime = self._stack.enter_context(runtime)
        self.client = self._stack.enter_context(runtime.client(self.podspan.intercept(runtime)))
        self.direct = self._stack.enter_context(runtime.client())

    def kubelet(self):
        """The kubelet of this world, started by who asks first."""
        with self._lock:
            if self._kubelet is None:
                kubelet = Kubelet(self.podspan.socket, self.runtime.cgroup)
                self._volume_driver(kubelet)
                self._kubelet = self._stack.enter_context(kubelet)
            return self._kubelet

    def _volume_driver(self, kubelet):
        """FlexVolume's psit/stuck, which never mounts; its pid is in the file driver.pid."""
        path = kubelet.folder / "volume-plugins" / "psit~stuck" / "stuck"
        path.parent.mkdir(parents=True)
        path.write_text(_DRIVER.format(folder=kubelet.folder, program=self.program("stuck-driver")), encoding="utf-8")
        path.chmod(0o755)

    def pod(self, **identity):
        """Runs a sandbox."""
        return self.new_pod(**identity).run(self.client)

    def new_pod(self, name=None, **identity):
        """The identity of a pod that is not there yet."""
        return cri.Pod(self.runtime, name=name or f"pod-{self.name}-{self._number()}", **identity)

    def box(self, command, name=None, pod=None, tweak=None, start=True, host_pid=False, **options):
        """Options are those of Pod.container_config; tweak(config) changes the ContainerConfig."""
        name = name or f"box-{self._number()}"
        box = Box(self, name, self._shared(f"{name}-{self._number()}"))
        box.pod = pod or self.pod(host_pid=host_pid)
        mounts = {"/in": box.shared, **options.pop("mounts", {})}
        config = box.pod.container_config(name, command=command, mounts=mounts, host_pid=host_pid, **options)
        if tweak:
            tweak(config)
        box.config = config
        if start:
            self.create(box)
            self.start(box)
        return box

    def create(self, box):
        """CreateContainer."""
        box.id = self.client("CreateContainer", pod_sandbox_id=box.pod.sandbox_id, config=box.config,
                             sandbox_config=box.pod.config()).container_id

    def start(self, box):
        """StartContainer."""
        self.client("StartContainer", container_id=box.id)
        box.pid = self.pid_of(box.id)

    def pid_of(self, container_id):
        """The host's pid of a container's first process."""
        info = json.loads(self.direct("ContainerStatus", container_id=container_id, verbose=True).info["info"])
        return int(info["pid"])

    def exec(self, box, *command, timeout=10):
        """ExecSync: the exit code, or the error's words."""
        try:
            return self.client("ExecSync", container_id=box.id, cmd=list(command), timeout=timeout).exit_code
        except grpc.RpcError as error:
            return error.details()

    def stop(self, box, grace):
        """StopContainer; returns how many seconds it took."""
        begin = time.monotonic()
        self.client("StopContainer", container_id=box.id, timeout=grace)
        return time.monotonic() - begin

    def memory_group(self, pod, limit):
        """Sets the memory limit of a pod's cgroup, as kubelet does."""
        group = Path(f"/sys/fs/cgroup/memory{pod._cgroup}")  # pylint: disable=protected-access
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(limit), encoding="ascii")
        return group

    def engine_pid(self):
        """The engine's own pid."""
        return int((self.runtime.folder / f"{self.engine}.self").read_text(encoding="ascii"))

    def wait_for_engine(self):
        """Waits until the engine works, after it was killed."""
        self.runtime.daemon.wait_until(self.runtime.ready, "ready again")


class PodmanWorld(World):
    """podman with conmon (runc) or podspan-conmon (crun)."""

    def _start(self):
        self._start_podspan()
        self._start_watch()
        conmon = built("podspan-conmon") if self.oci == "crun" else None
        podman = Podman(self.oci, self._hooks(), conmon=conmon)
        settings = self.folder / "containers.conf"
        variables = ", ".join(f'"{entry}"' for entry in self.podspan.monitor_env)
        settings.write_text(f"[engine]\nconmon_env_vars = [{variables}]\n", encoding="utf-8")
        podman._env = {**os.environ, "CONTAINERS_CONF": str(settings)}  # pylint: disable=protected-access
        self.runtime = self._stack.enter_context(podman)

    def box(self, command, name=None, memory=0, host_pid=False, start=True, image=BUSYBOX, options=(), **_):
        """options go to `podman run`."""
        name = name or f"box-{self.name}-{self._number()}"
        box = Box(self, name, self._shared(f"{name}-{self._number()}"))
        cidfile = self.folder / f"{name}.cid"
        arguments = ["run", "--detach", "--name", name, "--cidfile", cidfile, "--volume", f"{box.shared}:/in:ro",
                     *(["--memory", str(memory)] if memory else []), *(["--pid", "host"] if host_pid else []),
                     *self.runtime.run_options(*options), image, *command]
        done = self.runtime(*arguments, check=start)
        if cidfile.exists():
            box.id = cidfile.read_text(encoding="ascii").strip()
        if done.returncode == 0:
            box.pid = self.pid_of(box.id)
        box.said = done.stderr
        return box

    def run_in_background(self, command, name):
        """podman run, of a container that will not start."""
        shared = self._shared(name)
        arguments = ["run", "--detach", "--name", name, "--volume", f"{shared}:/in:ro",
                     "--annotation", f"staged={name}", *self.runtime.run_options(), BUSYBOX, *command]
        return self.spawn(*self.runtime.command(*arguments), cwd=self.folder,
                          env=self.runtime._env)  # pylint: disable=protected-access

    def pid_of(self, container_id):
        """The host's pid of a container's first process."""
        return int(self.runtime("inspect", "--format", "{{.State.Pid}}", container_id).stdout)

    def exec(self, box, *command, **_):
        """podman exec: the exit code."""
        return self.runtime("exec", box.id, *command, check=False).returncode

    def stop(self, box, grace):
        """podman stop; returns how many seconds it took."""
        begin = time.monotonic()
        self.runtime("stop", "--time", str(grace), box.id)
        return time.monotonic() - begin


NAMES = ["containerd-runc", "containerd-crun", "crio-runc", "crio-crun", "podman-runc", "podman-crun"]


def make(name):
    """A world by its name, not started."""
    if name not in NAMES:
        raise Failed(f"there is no world {name}; there are {', '.join(NAMES)}")
    return PodmanWorld(name) if name.startswith("podman") else CriWorld(name)
