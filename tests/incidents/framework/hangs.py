"""What stages of hangs share. Each returns a proof with `clean`, a function that ends the hang."""

import contextlib
import os
import signal
from pathlib import Path

import grpc

from lib.process import wait_for
from lib.reaper import descendants

from .world import comm, ended, stat_field


class Cleaner:
    """Ends what a stage has left hanging, in the order in which it was told of."""

    def __init__(self):
        self._steps = []

    def add(self, function, *arguments):
        """Calls a function with arguments; what it fails with does not matter."""
        self._steps.append((function, arguments))

    def first(self, function, *arguments):
        """The same, before all that was told so far."""
        self._steps.insert(0, (function, arguments))

    def kill(self, pid):
        """Kills a process and all below it."""
        self.add(_kill_tree, pid)

    def __call__(self):
        for function, arguments in self._steps:
            with contextlib.suppress(Exception):
                function(*arguments)


def _kill_tree(pid):
    for one in [*descendants(pid), pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGCONT)
            os.kill(one, signal.SIGKILL)


def _finish(call):
    """Waits for the end of a call that nothing holds up any more, and takes no interest in it."""
    with contextlib.suppress(grpc.RpcError, grpc.FutureTimeoutError):
        call.result(timeout=5)
    call.cancel()


def waits(pid, name=None, states="SDT"):
    """Waits until a process has the name and is off the CPU twice in a row, so that it has come to its wait."""
    seen = []

    def settled():
        state = stat_field(pid, 3)
        good = state is not None and state in states and (name is None or comm(pid) == name[:15])
        seen.append(good)
        return seen[-2:] == [True, True]
    wait_for(settled, f"{name} (pid {pid}) waits", interval=0.1)
    return pid


def pid_of_file(path):
    """The pid that a behaviour has written."""
    return int(wait_for(lambda: path.exists() and path.read_text(encoding="ascii").strip(), f"{path}"))


def announcing(world, key, behaviour):
    """The text of a behaviour that writes its pid first, and the file it does so to."""
    path = world.folder / f"{key}.pid"
    return path, f'echo $$ >"{path}.new"; mv "{path}.new" "{path}"\n{behaviour}\n'


def plugin_hangs(world, behaviour, command="ADD", deadlines=()):
    """A sandbox whose CNI plugin runs a behaviour; (pod, the plugin's pid, the call, clean).

    deadlines, of command DEL: calls before the last one, each given up after so many seconds.
    """
    clean = Cleaner()
    pod = world.new_pod()
    path, text = announcing(world, f"{pod.name}-{command}", behaviour)
    key = f"cni-{command}-{pod.name}"
    world.behave(key, text)
    if command == "ADD":
        pod.logs.mkdir(parents=True, exist_ok=True)
        call = world.client.call_async("RunPodSandbox", config=pod.config(), deadline=600)
    else:
        pod.run(world.client)
        for seconds in deadlines:
            with contextlib.suppress(grpc.RpcError):
                world.client("StopPodSandbox", pod_sandbox_id=pod.sandbox_id, deadline=seconds)
            clean.kill(pid_of_file(path))
            path.unlink(missing_ok=True)
        call = world.client.call_async("StopPodSandbox", pod_sandbox_id=pod.sandbox_id, deadline=600)
    pid = pid_of_file(path)
    clean.add((world.folder / key).unlink)
    clean.kill(pid)
    clean.add(_finish, call)
    return pod, pid, call, clean


def hook_hangs(world, behaviour):
    """A container whose createRuntime hook runs a behaviour; (proof, the hook's pid, clean)."""
    clean = Cleaner()
    name = world.unique("hook")
    path, text = announcing(world, name, behaviour)
    world.behave(name, text)
    if world.engine == "podman":
        process = world.run_in_background(["/in/victim", "hold"], name)
        proof = {"name": name}
        finish = (process.wait, 10)
    else:
        box = world.box(["/in/victim", "hold"], name=name, start=False)
        call = start_in_background(world, box)
        proof = {"name": name, "pod": box.pod.name, "uid": box.pod.uid, "sandbox": box.pod.sandbox_id}
        finish = (_finish, call)
    pid = pid_of_file(path)
    clean.add((world.folder / name).unlink)
    clean.kill(pid)
    clean.add(*finish)
    return proof, pid, clean


def start_in_background(world, box):
    """The call in which the engine creates the container, in flight."""
    create = {"pod_sandbox_id": box.pod.sandbox_id, "config": box.config, "sandbox_config": box.pod.config()}
    if world.engine == "crio":
        return world.client.call_async("CreateContainer", deadline=600, **create)
    box.id = world.client("CreateContainer", **create).container_id
    return world.client.call_async("StartContainer", deadline=600, container_id=box.id)


def in_flight(world, method, clean, **fields):
    """A call that will hang; clean has to end the hang before it."""
    call = world.client.call_async(method, deadline=600, **fields)
    clean.add(_finish, call)
    return call


def stop_process(pid, clean):
    """SIGSTOP, to be continued when the hang ends."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: stat_field(pid, 3) == "T", f"{pid} is stopped")
    clean.first(os.kill, pid, signal.SIGCONT)
    return pid


def freeze(pid, clean):
    """Freezes the cgroup of a process (version 1), and says which one."""
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "freezer":
            state = Path(f"/sys/fs/cgroup/freezer{path}/freezer.state")
            clean.add(state.write_text, "THAWED")
            state.write_text("FROZEN", encoding="ascii")
            wait_for(lambda: state.read_text(encoding="ascii").strip() == "FROZEN", f"{path} is frozen")
            return path
    raise AssertionError("no freezer")


def gone(*pids):
    """Have all of them ended?"""
    return all(ended(pid) for pid in pids)
