"""podspan itself: the collector podspand, the interceptor podspan-cri, hooks and the command line."""

import json
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

from .paths import built, packaged
from .process import Daemon, Failed, accepts, run

STAGES = ("createRuntime", "poststart", "poststop")

_AGENT_NICE = 5  # as its unit has it


class Notify:
    """A socket as systemd gives it to a service of type notify."""

    def __init__(self, path):
        path.unlink(missing_ok=True)
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self.lines = []

    def said(self, line):
        """How often a line has been said."""
        while True:
            try:
                self.lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.lines.count(line)

    def ready(self):
        """True once READY=1 has been said."""
        return self.said("READY=1") > 0

    def close(self):
        self._socket.close()


class Podspan:
    """One whole set of podspan, beside any other: configuration, state, store; podspand runs from the start.

    endpoint is the collector's host:port (None: no export), config adds lines to the configuration, env goes to all
    programs.
    """

    def __init__(self, endpoint=None, rate=1_000_000, config="", env=None):
        self.folder = Path(tempfile.mkdtemp(prefix="podspan-"))
        os.chmod(self.folder, 0o755)
        # In memory, as /run is: what a disk takes for a file is no part of what a call or a process waits for.
        self._memory = Path(tempfile.mkdtemp(prefix="podspan-", dir="/dev/shm"))
        os.chmod(self._memory, 0o755)
        self.state, self.store = self._memory / "state", self.folder / "store"
        self.config = self.folder / "podspan.conf"
        self.config.write_text(
            "[podspan]\nenable_tracing = true\n"
            f'tracing_endpoint = "{endpoint or "none"}"\ntracing_sampling_rate_per_million = {rate}\n{config}\n',
            encoding="utf-8")
        self.agent = self.interceptor = None
        self._env = dict(env or {})
        self._notify = None
        self._intercepted = None
        self._upgrades = 0

    @property
    def options(self):
        """--config and --state-dir."""
        return ["--config", self.config, "--state-dir", self.state]

    @property
    def monitor_env(self):
        """The same for podspan-conmon, whose command line is conmon's."""
        return [f"PODSPAN_CONFIG={self.config}", f"PODSPAN_STATE_DIR={self.state}"]

    def start_agent(self):
        """Starts podspand and waits until it says that it is ready."""
        self._close_notify()
        self._notify = Notify(self.folder / "notify.sock")
        self.agent = Daemon("podspand", [packaged("nice"), "-n", _AGENT_NICE, built("podspand"), *self.options,
                                         "--store-dir", self.store], self.folder,
                            env={**self._env, "NOTIFY_SOCKET": str(self._notify.path)})
        self.agent.wait_until(self._notify.ready, "READY=1")

    def _close_notify(self):
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    @property
    def interceptor_command(self):
        """podspan-cri with its arguments."""
        return [built("podspan-cri"), "--listen", self.socket, "--runtime", self._intercepted.socket, *self.options]

    def intercept(self, runtime):
        """Starts podspan-cri in front of a runtime (anything with `kind` and `socket`); returns its socket's path."""
        self._intercepted = runtime
        path = self.socket
        path.parent.mkdir(parents=True, exist_ok=True)
        self.interceptor = Daemon("podspan-cri", self.interceptor_command, self.folder, env=self._env)
        self.interceptor.wait_until(lambda: accepts(path), "listens")
        return path

    def restart_interceptor(self):
        """Starts podspan-cri anew, after it was stopped or killed."""
        return self.intercept(self._intercepted)

    def upgrade_interceptor(self):
        """Starts one more podspan-cri, which takes over; returns after how many seconds the one before it was gone."""
        before, begin = self.interceptor, time.monotonic()
        self._upgrades += 1
        self.interceptor = Daemon(f"podspan-cri-{self._upgrades}", self.interceptor_command, self.folder, env=self._env)
        code = before.wait(10)
        took = time.monotonic() - begin
        before.stop()
        if code != 0 or not self.interceptor.alive():
            raise Failed(f"not taken over ({code}):\n{before.log()}\n{self.interceptor.log()}")
        return took

    @property
    def socket(self):
        """Where podspan-cri listens; kubelet wants this suffix in front of CRI-O."""
        name = "run/crio/crio.sock" if self._intercepted.kind == "crio" else "cri.sock"
        return self.folder / name

    def hook(self, stage):
        """The command of the hook of a stage."""
        return [built("podspan-hook"), "--stage", stage, *self.options]

    def hooks(self, stages=STAGES):
        """The hooks of a runtime."""
        return {stage: [self.hook(stage)] for stage in stages}

    def run_hook(self, stage, state, timeout=10, **kwargs):
        """Calls the hook as a runtime does; state is the OCI state, or any bytes."""
        data = state if isinstance(state, str) else json.dumps(state)
        return run(*self.hook(stage), input=data, timeout=timeout, **kwargs)

    def cli(self, *arguments, check=True, timeout=60):
        """Runs `podspan`; returns its standard output."""
        return run(built("podspan"), *arguments, *self.options, "--store-dir", self.store, check=check,
                   timeout=timeout, env={**os.environ, **self._env, "TERM": "dumb"}).stdout

    def cli_json(self, *arguments):
        """Runs `podspan … --json` and parses what it prints."""
        return json.loads(self.cli(*arguments, "--json"))

    def close(self):
        """Ends what runs and removes the files."""
        for daemon in (self.interceptor, self.agent):
            if daemon is not None:
                daemon.stop()
        self._close_notify()
        for folder in (self.folder, self._memory):
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self):
        try:
            self.start_agent()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()
