"""Directories that others than root can change decide nothing: they are refused, said once and counted, and nobody waits
for podspan because of it."""

import json
import os
import subprocess
import time

import grpc
import pytest

from lib.paths import built
from lib.podspan import Podspan
from lib.process import wait_for
from test_file_limit import RUN, _Backend

OTHER = 12345
HOOK_STATE = {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": 1, "bundle": "/nowhere", "annotations": {}}


def untrusted(podspan, producer):
    """How often a producer refused a directory."""
    return json.loads(podspan.cli("status", "--json", check=False))["counters"].get(producer, {}).get("untrusted", 0)


def call(path, count=3):
    """Calls that have to succeed, and soon."""
    channel = grpc.insecure_channel(f"unix:{path}")
    begin = time.monotonic()
    for _ in range(count):
        channel.unary_unary(RUN)(b"\x0a\x10\x0a\x0e\x0a\x05pod-x\x12\x01u\x1a\x02ns", timeout=10)
    channel.close()
    assert time.monotonic() - begin < 2


def spooled(podspan):
    """Finished files in the spool."""
    return [path.name for path in (podspan.state / "spool").iterdir() if not path.name.startswith(".")]


@pytest.fixture(name="podspan")
def fixture_podspan():
    """podspan, with podspand ended: its state directory is there."""
    with Podspan() as podspan:
        podspan.agent.stop()
        yield podspan


def test_podspand_makes_no_context(podspan):
    """Whose child a span is is not for podspand's user to say."""
    assert (podspan.state / "spool").is_dir()
    assert not (podspan.state / "context").exists()


def _other_owner(podspan):
    for name in ("context", "context/live", "context/start", "context/hook"):
        (podspan.state / name).mkdir(exist_ok=True)
        os.chown(podspan.state / name, OTHER, -1)
    return "context"


def _group_writes(podspan):
    for name in ("context", "context/live", "context/start", "context/hook"):
        (podspan.state / name).mkdir(exist_ok=True)
    os.chmod(podspan.state / "context/start", 0o2770)
    return "context/start"


def _state(podspan):
    os.chmod(podspan.state, 0o2777)
    return "."


@pytest.mark.parametrize("harm", [_other_owner, _group_writes, _state])
def test_context(podspan, harm):
    """context/, a directory in it or STATE can be changed by others: calls and hooks succeed, spans have no parent."""
    bad = harm(podspan)
    with _Backend() as backend:
        call(podspan.intercept(backend))
        wait_for(lambda: spooled(podspan), "spans all the same")
        assert podspan.interceptor.log().count(f"{podspan.state}/{bad} (uid ") == 1
        assert untrusted(podspan, "podspan-cri") == 1
        assert not [path for path in (podspan.state / "context").rglob("*") if path.is_file()]
        done = podspan.run_hook("createRuntime", HOOK_STATE)
        assert f"{podspan.state}/{bad} (uid " in done.stderr
        assert untrusted(podspan, "podspan-hook") == 1
        assert "podspan-hook did not use a directory" in podspan.cli("doctor", check=False)


@pytest.mark.parametrize("mode, owner", [(0o2777, 0), (0o750, OTHER)])
def test_spool(podspan, mode, owner):
    """The spool can be changed by others than its group: nobody writes there, nobody reads from there."""
    spool = podspan.state / "spool"
    os.chmod(spool, mode)
    os.chown(spool, owner, owner)
    os.chmod(spool, mode)
    with _Backend() as backend:
        call(podspan.intercept(backend))
        assert podspan.interceptor.log().count(f"{spool} (uid ") == 1
        assert untrusted(podspan, "podspan-cri") == 1
        podspan.run_hook("createRuntime", HOOK_STATE)
        assert untrusted(podspan, "podspan-hook") == 1
        call(podspan.socket)
        assert not spooled(podspan)
    done = subprocess.run([built("podspand"), *podspan.options, "--store-dir", podspan.store], capture_output=True,
                          text=True, timeout=20, check=False)
    assert done.returncode == 1 and f"{spool} (uid " in done.stderr
    assert untrusted(podspan, "podspand") == 1


def test_spool_of_the_group(podspan):
    """podspand's own user may have made it: that is the spool."""
    spool = podspan.state / "spool"
    os.chown(spool, OTHER, os.stat(podspan.state).st_gid)
    os.chmod(spool, 0o2770)
    podspan.run_hook("createRuntime", HOOK_STATE)
    assert len(spooled(podspan)) == 1
    assert untrusted(podspan, "podspan-hook") == 0


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_counters(podspan, kind):
    """A link or a directory at the counters' name is replaced by root's file, and what a link leads to stays."""
    counters, target = podspan.state / "counters", podspan.folder / "target"
    counters.unlink(missing_ok=True)
    target.write_bytes(b"precious")
    if kind == "link":
        counters.symlink_to(target)
    else:
        counters.mkdir()
        (counters / "something").touch()
    podspan.run_hook("createRuntime", HOOK_STATE)
    assert counters.is_file() and not counters.is_symlink()
    assert target.read_bytes() == b"precious"
    assert json.loads(podspan.cli("status", "--json", check=False))["counters"]["podspan-hook"]["spans_written"] == 1


def test_parents_of_the_socket(podspan):
    """Others can take the place of podspan-cri's socket: said once and counted, and kubelet is served all the same."""
    os.chmod(podspan.folder, 0o777)
    with _Backend() as backend:
        call(podspan.intercept(backend))
        assert podspan.interceptor.log().count(f"{podspan.folder} (uid ") == 1
        assert untrusted(podspan, "podspan-cri") == 1
