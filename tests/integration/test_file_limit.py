"""RLIMIT_FSIZE: a write beyond it fails with EFBIG, and no program of podspan dies of SIGXFSZ."""

import concurrent.futures
import contextlib
import os
import re
import resource
import signal
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import grpc
import pytest

from lib.conmon import Run, content, parse_log, shell
from lib.monitors import fixture_everything_ends, fixture_which, subject_only  # noqa: F401  (fixtures)
from lib.paths import built
from lib.podspan import Podspan
from lib.process import wait_for

RUN = "/runtime.v1.RuntimeService/RunPodSandbox"
XFSZ = 1 << (signal.SIGXFSZ - 1)
LIMIT = 4096


def limit_files(size):
    """For preexec_fn."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def ignored(status):
    """The mask of ignored signals in the text of a /proc/PID/status."""
    return int(re.search(r"SigIgn:\s*([0-9a-f]+)", status)[1], 16)


class _Backend:
    """A runtime whose every call succeeds."""

    kind = "none"

    def __init__(self):
        self.socket = Path(tempfile.mkdtemp(prefix="backend-")) / "runtime.sock"
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))

        class Handler(grpc.GenericRpcHandler):
            """Takes any method."""

            def service(self, _):
                return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x0a\x05sb-id")

        self._server.add_generic_rpc_handlers((Handler(),))
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stop(0).wait()


@subject_only
def test_log_beyond_the_limit(which, tmp_path):
    """podspan-conmon: the log ends at the limit with a whole record; the container ends by itself and its exit code is
    where it has to be."""
    script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo some line $i; done; exit 5"
    with contextlib.closing(Run(which, tmp_path, shell(script))) as one:
        one.spawn()
        resource.prlimit(one.spawned_pid, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        one.release().settle()
        assert one.message()["pid"] > 0
        assert one.wait() == 5
        assert (one.exit_file(), one.persist_file()) == ("5", "5")
        data = one.log_path.read_bytes()
        assert 0 < len(data) <= LIMIT
        assert content(parse_log(data)).startswith(b"some line 1\nsome line 2\n")


@subject_only
@pytest.mark.parametrize("before", ["default", "ignored"])
def test_monitors_children(which, tmp_path, before):
    """Runtime, container and exit command have the disposition of SIGXFSZ that podspan-conmon was started with."""
    proof = tmp_path / "proof"
    command = tmp_path / "exit-command"
    command.write_text(f"#!/bin/sh\ngrep SigIgn /proc/self/status >{proof}.part; mv {proof}.part {proof}\n",
                       encoding="ascii")
    command.chmod(0o755)
    # env(1) is not a shell: it changes no disposition but the one that it is asked for.
    runner = tmp_path / "monitor"
    runner.write_text(f'#!/bin/sh\nexec env --{"default" if before == "default" else "ignore"}-signal=XFSZ '
                      f'{which.path} "$@"\n', encoding="ascii")
    runner.chmod(0o755)
    with contextlib.closing(Run(which, tmp_path, shell("grep SigIgn /proc/self/status"), "--exit-command",
                                command)) as one:
        one.command[0] = str(runner)
        one.start()
        assert one.message()["pid"] > 0
        assert one.wait() == 0
        wait_for(proof.exists, "the exit command has run")
        for text in (content(one.log()).decode(), proof.read_text(encoding="ascii")):
            assert bool(ignored(text) & XFSZ) == (before == "ignored"), text


@pytest.mark.parametrize("before", ["default", "ignored"])
def test_wrapped_hook(tmp_path, before):
    """A wrapped hook has the disposition that podspan-hook was started with, with and without a spool."""
    for spool in (False, True):
        if spool:
            (tmp_path / "spool").mkdir()
        command = ["env", f'--{"default" if before == "default" else "ignore"}-signal=XFSZ', built("podspan-hook"),
                   "wrap", "--config", "/dev/null", "--state-dir", tmp_path, "--", "grep", "SigIgn", "/proc/self/status"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=True)
        assert bool(ignored(done.stdout) & XFSZ) == (before == "ignored")


def test_daemons():
    """podspan-cri and podspand whose files may not grow: calls succeed, both live on, and spans come again."""
    with Podspan() as podspan, _Backend() as backend:
        path = podspan.intercept(backend)
        channel = grpc.insecure_channel(f"unix:{path}")
        call = channel.unary_unary(RUN)

        def calls(count):
            for _ in range(count):
                call(b"\x0a\x10\x0a\x0e\x0a\x05pod-x\x12\x01u\x1a\x02ns", timeout=10)

        def stored():
            with contextlib.closing(sqlite3.connect(podspan.store / "podspan.db")) as database:
                return database.execute("SELECT count(*) FROM span").fetchone()[0]

        calls(2)
        wait_for(lambda: stored() >= 2, "spans are stored")
        for daemon in (podspan.interceptor, podspan.agent):
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        before = stored()
        calls(5)
        # A spool file that a program without a limit wrote, for podspand to fail over.
        podspan.run_hook("createRuntime", {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": 1,
                                           "bundle": "/nowhere", "annotations": {}})
        time.sleep(3)
        calls(5)
        assert podspan.interceptor.alive(), podspan.interceptor.log()
        assert podspan.agent.alive(), podspan.agent.log()
        for daemon in (podspan.interceptor, podspan.agent):
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        calls(3)
        wait_for(lambda: stored() >= before + 4, "spans are stored again", 60)
        channel.close()


@pytest.mark.parametrize("command", [["podspan", "--help"], ["podspan", "status"], ["podspan-probe", "--help"],
                                     ["podspan-hook", "--help"], ["podspan-watch", "--help"], ["podspan-cri", "--help"],
                                     ["podspand", "--help"], ["podspan-conmon", "--help"]],
                         ids=lambda command: " ".join(command))
def test_output_beyond_the_limit(tmp_path, command):
    """Standard output that cannot grow ends no program by a signal."""
    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run([built(command[0]), *command[1:]], stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.PIPE, timeout=20, check=False, preexec_fn=limit_files(0))
    assert done.returncode >= 0, f"{command}: signal {-done.returncode}"
    assert os.path.getsize(tmp_path / "out") == 0
