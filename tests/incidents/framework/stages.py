"""What several stages share."""

import os
import sys
import threading

import grpc

from lib import session
from lib.process import run, wait_for

from .world import HERE, comm, ended

TRAP = "trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 0.05; done"
READY, EXITED = 1, 2


def container_ids(world, pod, exited=None):
    """The containers of a pod as the engine lists them, oldest first; exited: only those that have ended, or run."""
    states = {None: (0, 1, 2, 3), True: (EXITED,), False: (READY,)}[exited]
    found = [one for one in world.direct("ListContainers").containers
             if one.labels["io.kubernetes.pod.name"] == pod and one.state in states]
    return sorted(found, key=lambda one: one.created_at)


def probe(command, timeout=5):
    """An exec probe of kubelet's, every second, three failures."""
    return {"exec": {"command": [command]}, "periodSeconds": 1, "timeoutSeconds": timeout, "failureThreshold": 3}


def trapped(world, **options):
    """A container that ends at SIGTERM with exit code 0; it is ready for the signal."""
    box = world.box(["sh", "-c", TRAP], **options)
    wait_for(lambda: world.exec(box, "test", "-e", "/tmp/ready") == 0, "the trap is set", interval=0.1)
    return box


def oom_child(world, last):
    """A container whose child was the OOM killer's victim, and its pid; with the file `end` it does the last thing."""
    script = "VICTIM_GO=/in/go /in/eater eat & wait; until [ -e /in/end ]; do sleep 0.05; done; " + last
    box = world.box(["sh", "-c", script], memory=20 << 20)
    child = box.child("eater")
    box.touch()
    wait_for(lambda: ended(child), "the child is killed")
    return box, child


def failing(world, command, **options):
    """A container that cannot be started; the engine's words are in the proof."""
    if world.engine == "podman":
        box = world.box(command, start=False, **options)
        assert box.pid is None, f"it was started:\n{box.said}"
        return box.proof(said=box.said)
    box = world.box(command, start=False, **options)
    try:
        world.create(box)
        world.start(box)
    except grpc.RpcError as error:
        # CRI-O's CreateContainer fails: there is no container to ask about, but its pod.
        box.id = box.id or box.pod.name
        return box.proof(said=error.details())
    raise AssertionError("it was started")


def in_container(box, name, timeout=20):
    """The host's pid of a process of this name in the container's pid namespace, as exec'd ones are."""
    namespace = os.readlink(f"/proc/{box.pid}/ns/pid")

    def found():
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if comm(entry) == name and os.readlink(f"/proc/{entry}/ns/pid") == namespace:
                    return int(entry)
            except OSError:
                pass
        return None
    return wait_for(found, f"{name} in {box.name}", timeout)


_lock = threading.Lock()


def unreachable(world):
    """An interface with the network 10.98.0.0/24, in which 10.98.0.2 takes everything and says nothing."""
    with _lock:
        if run("ip", "link", "show", "nowhere", check=False).returncode == 0:
            return
        run("ip", "link", "add", "nowhere", "type", "veth", "peer", "name", "nowhere-peer")
        run("ip", "address", "add", "10.98.0.1/24", "dev", "nowhere")
        run("ip", "link", "set", "nowhere", "up")
        run("ip", "link", "set", "nowhere-peer", "up")
        run("ip", "neighbour", "add", "10.98.0.2", "lladdr", "02:00:00:00:00:02", "dev", "nowhere")


def stuck_mount(world):
    """(mount point, its server's pid, a function that unmounts it) of a file system that never answers."""
    mount = world.folder / world.unique("stuck")
    mount.mkdir()
    server = world.spawn(sys.executable, HERE / "fuse.py", mount)
    wait_for(lambda: session.mounts_below(mount), "it is mounted")
    return mount, server.pid, lambda: session.unmount(mount)
