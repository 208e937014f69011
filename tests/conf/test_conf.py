"""What gets installed: every file in its place, and each accepted by what will read it.

`meson install` goes into a folder of the test's own; programs are those of $PODSPAN_BUILD or <repo>/build.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("PODSPAN_BUILD") or REPO / "build").absolute()
STAGES = ["createRuntime", "poststart", "poststop"]

# Where meson puts what, below the prefix or absolute.
INSTALLED = [
    "bin/podspan", "sbin/podspand", "sbin/podspan-cri", "libexec/podspan/podspan-hook",
    "libexec/podspan/podspan-probe", "libexec/podspan/containerd-base-spec", "lib/systemd/system/podspand.service",
    "lib/systemd/system/podspan-cri@.service", "lib/systemd/system/run-podspan-spool.mount",
    "lib/sysusers.d/podspan.conf", "lib/tmpfiles.d/podspan.conf", "share/podspan/crio.conf.d/90-podspan.conf",
    "share/podspan/crio.conf.d/91-podspan-monitor.conf", "libexec/podspan/podspan-conmon",
    "share/podspan/containerd/config-v2.toml", "share/podspan/containerd/config-v3.toml",
    "share/podspan/kubelet/90-podspan.conf", *(f"share/podspan/hooks.d/podspan-{stage}.json" for stage in STAGES),
    "/etc/podspan/podspan.conf", "lib/systemd/system/podspan-cri@.socket",
    "sbin/podspan-watch", "lib/systemd/system/podspan-watch.service",
]


def run(*command, **kwargs):
    """Runs a program that has to succeed; returns what it printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False,
                          stdin=subprocess.DEVNULL, **kwargs)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Tree:
    """An installation below a folder."""

    def __init__(self, root):
        options = json.loads(run("meson", "introspect", "--buildoptions", BUILD))
        self.root, self.prefix = root, next(o["value"] for o in options if o["name"] == "prefix")

    def __truediv__(self, path):
        return self.root / (path[1:] if path.startswith("/") else f"{self.prefix[1:]}/{path}")


@pytest.fixture(name="tree", scope="session")
def fixture_tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    run("meson", "install", "-C", BUILD, "--no-rebuild", env={**os.environ, "DESTDIR": str(root)})
    return Tree(root)


@pytest.fixture(name="config_of", scope="session")
def fixture_config_of(tree):
    """The effective configuration of a file, as {key: (value, origin)}."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PODSPAN_"))}

    def config_of(path):
        text = run(tree / "bin/podspan", "config", "--json", "--config", path, env=environment)
        return {row["key"]: (row["value"], row["origin"]) for row in json.loads(text)["config"]}

    return config_of


@pytest.mark.parametrize("path", INSTALLED)
def test_installed(tree, path):
    assert (tree / path).is_file()


def test_shipped_configuration_changes_nothing(tree, config_of, tmp_path):
    empty = tmp_path / "empty.conf"
    empty.touch()
    assert config_of(tree / "/etc/podspan/podspan.conf") == config_of(empty)


def test_shipped_configuration_has_every_key_at_its_default(tree, config_of, tmp_path):
    """With all keys uncommented nothing is different but where the values come from."""
    shipped = (tree / "/etc/podspan/podspan.conf").read_text(encoding="utf-8")
    uncommented = tmp_path / "uncommented.conf"
    uncommented.write_text(re.sub(r"^#(?=[a-z_]+ = )", "", shipped, flags=re.MULTILINE), encoding="utf-8")
    defaults, values = config_of(tree / "/etc/podspan/podspan.conf"), config_of(uncommented)
    assert {key: value for key, (value, _) in values.items()} == {key: value for key, (value, _) in defaults.items()}
    assert [key for key, (_, origin) in values.items() if origin == "default"] == []
    assert len(values) >= 27


def test_crio_lines_paste_in(tree, config_of, tmp_path):
    """The [crio.tracing] table of the CRI-O drop-in is configuration of ours too."""
    text = (tree / "share/podspan/crio.conf.d/90-podspan.conf").read_text(encoding="utf-8")
    pasted = tmp_path / "pasted.conf"
    pasted.write_text(text[text.index("[crio.tracing]"):], encoding="utf-8")
    assert config_of(pasted)["tracing_endpoint"][0] == "127.0.0.1:4317"


@pytest.mark.parametrize("stage", STAGES)
def test_hooks_d(tree, stage):
    hook = json.loads((tree / f"share/podspan/hooks.d/podspan-{stage}.json").read_text(encoding="utf-8"))
    assert (hook["version"], hook["stages"], hook["when"]) == ("1.0.0", [stage], {"always": True})
    assert hook["hook"]["path"] == f"{tree.prefix}/libexec/podspan/podspan-hook"
    assert hook["hook"]["args"][1:] == ["--stage", stage]


def test_no_other_stage(tree):
    """startContainer would be looked up inside the container and break it."""
    assert len(list((tree / "share/podspan/hooks.d").iterdir())) == len(STAGES)


def test_installed_hook_runs(tree):
    for stage in STAGES:
        run(tree / "libexec/podspan/podspan-hook", "--stage", stage, "--state-dir", "/nonexistent")


@pytest.mark.skipif(not (shutil.which("ctr") and shutil.which("jq")), reason="containerd's ctr and jq are not installed")
def test_containerd_base_spec(tree):
    """containerd's own default with hooks and nothing that a pod would inherit from it by accident."""
    ours = json.loads(run(tree / "libexec/podspan/containerd-base-spec", "--hook", "/h", "--state-dir", "/s"))
    default = json.loads(run("ctr", "oci", "spec"))
    for stage in STAGES:
        assert ours["hooks"][stage] == [
            {"path": "/h", "args": ["podspan-hook", "--stage", stage, "--state-dir", "/s"], "timeout": 5}]
    assert list(ours["hooks"]) == STAGES
    assert "rlimits" not in ours["process"] and "seccomp" not in ours["linux"]
    del ours["hooks"]
    default["process"].pop("rlimits", None)
    default["process"].pop("apparmorProfile", None)
    default["linux"].pop("seccomp", None)
    assert ours == default


def test_base_spec_help(tree):
    text = run(tree / "libexec/podspan/containerd-base-spec", "--help")
    assert "--hook" in text and "set -eu" not in text


def test_documentation_is_installed(tree):
    """What the units name as their documentation is there, and what these pages link to beside them."""
    named = set()
    for unit in (tree / "lib/systemd/system").iterdir():
        named |= set(re.findall(r"\bfile:(\S+)", unit.read_text(encoding="utf-8")))
    assert len(named) >= 4
    for path in named:
        assert (tree / path).is_file(), path


@pytest.mark.parametrize("name", [
    "podspand.service", "podspan-cri@containerd.service", "podspan-cri@crio.service", "podspan-cri@containerd.socket",
    "podspan-cri@crio.socket", "run-podspan-spool.mount", "podspan-watch.service"])
def test_units_verify(tree, name, tmp_path):
    """systemd accepts the units, with programs and the dependencies of the host at hand."""
    units = tree / "lib/systemd/system"
    root = tmp_path / "root"
    shutil.copytree(tree.root, root, symlinks=True)
    folder = root / f"{tree.prefix[1:]}/lib/systemd/system"
    for kind in ("service", "socket") if "@" in name else ():
        shutil.copy(units / f"podspan-cri@.{kind}", folder / f"{name.split('.')[0]}.{kind}")
    # What every system has; without it each unit's implicit dependencies would be reported.
    for unit in ("sysinit.target", "basic.target", "shutdown.target", "umount.target", "network.target",
                 "multi-user.target", "system.slice", "-.slice", "-.mount", "tmp.mount", "systemd-sysusers.service",
                 "systemd-tmpfiles-setup.service"):
        stock = Path("/lib/systemd/system") / unit
        if stock.exists() and not (folder / unit).exists():
            (root / "lib/systemd/system").mkdir(parents=True, exist_ok=True)
            shutil.copy(stock, root / "lib/systemd/system" / unit)
    (root / "bin").mkdir(exist_ok=True)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}", name],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr, f"{done.returncode}: {done.stdout}{done.stderr}"


def exposure(unit):
    """What `systemd-analyze security` calls a unit's exposure: 0 to 10."""
    text = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    return float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)[1])


def unit_files():
    """The names of all units that are installed."""
    return sorted(path.name.removesuffix(".in") for path in (REPO / "conf.d/systemd").iterdir()
                  if path.name.removesuffix(".in").endswith((".service", ".socket", ".mount")))


@pytest.mark.parametrize("name", unit_files())
def test_units_exposure(tree, name):
    """At most 2.0, and the number stands in the unit and in docs/install.md; what is above has its reason there."""
    unit = tree / "lib/systemd/system" / name
    level = exposure(unit)
    said = re.search(r"^# systemd-analyze security(?: says |: )([0-9.]+)[.,:] (.{40})", unit.read_text(encoding="utf-8"),
                     re.MULTILINE)
    assert said and abs(float(said[1]) - level) <= 0.3, f"{level}, in the unit {said and said[1]}"
    assert level <= 2.0 or not name.endswith(".service")
    row = re.search(rf"^\| `{re.escape(name)}` \| ([0-9.]+) \| (.{{20}})",
                    (REPO / "docs/install.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert row and row[1] == said[1], "docs/install.md says something else"


def system_calls(groups):
    """The names in groups of system calls, as systemd defines them."""
    found, queue = set(), list(groups)
    while queue:
        name = queue.pop()
        if not name.startswith("@"):
            found.add(name)
            continue
        queue += [line.strip() for line in run("systemd-analyze", "syscall-filter", name).splitlines()[1:]
                  if line.strip() and not line.strip().startswith("#")]
    return found


# Calls that a program makes as uid 0 only, as the tests run it.
ROOT_ONLY = {"podspand.service": {"fchown", "mbind"}}


@pytest.mark.parametrize("name,source,also", [
    ("podspan-cri@.service", "cri-hooks/confine.c", ["prctl", "capget", "seccomp", "execve"]),
    ("podspan-watch.service", "proc-watch/privilege.c", [
        "prctl", "seccomp", "execve", "bpf", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"]),
    ("podspand.service", "agent/seccompf.c", ["prctl", "seccomp", "execve"])])
def test_unit_allows_what_the_program_needs(tree, name, source, also):
    """The unit's filter of system calls is not narrower than the program's own, of which the tests know that it is enough."""
    allowed = set()
    for line in (tree / "lib/systemd/system" / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("SystemCallFilter="):
            words = line.partition("=")[2].split()
            if words[0].startswith("~"):
                allowed -= system_calls([words[0][1:], *words[1:]])
            else:
                allowed |= system_calls(words)
    text = (REPO / source).read_text(encoding="utf-8")
    table = text[text.index("allowed[] = {"):text.index("};", text.index("allowed[] = {"))]
    needed = set(re.findall(r'"([a-z0-9_]+)"', table)) | set(also)
    assert len(needed) > 40
    # What only other architectures have, systemd does not list for this one.
    known = system_calls(["@known"])
    assert sorted((needed & known) - allowed - ROOT_ONLY.get(name, set())) == []


def test_units_stay_in_the_path(tree):
    """podspan-cri is before kubelet, comes back at once for ever, and is the last to be killed."""
    text = (tree / "lib/systemd/system/podspan-cri@.service").read_text(encoding="utf-8")
    for line in ("Before=kubelet.service", "Restart=always", "RestartSec=50ms", "StartLimitIntervalSec=0",
                 "OOMScoreAdjust=-999", "NoNewPrivileges=yes", "CapabilityBoundingSet="):
        assert re.search(rf"^{re.escape(line)}$", text, re.MULTILINE), line
    assert int(re.search(r"^WatchdogSec=(\d+)s$", text, re.MULTILINE)[1]) < 5
    started = re.search(r"^ExecStart=(\S+) --listen (\S+) ", text, re.MULTILINE)
    assert re.search(rf"^ExecReload={re.escape(started[1])} --upgrade --listen {re.escape(started[2])}$", text, re.MULTILINE)
    assert int(re.search(r"^LimitDATA=(\d+)M$", text, re.MULTILINE)[1]) < int(
        re.search(r"^MemoryMax=(\d+)M$", text, re.MULTILINE)[1])
    socket = (tree / "lib/systemd/system/podspan-cri@.socket").read_text(encoding="utf-8")
    for line in ("Before=kubelet.service", "SocketMode=0600", "WantedBy=sockets.target"):
        assert re.search(rf"^{re.escape(line)}$", socket, re.MULTILINE), line


@pytest.mark.parametrize("name", ["podspand.service", "podspan-watch.service"])
def test_units_reload(tree, name):
    """`systemctl reload` sends the signal on which the program reads its configuration again, and waits until it has."""
    text = (tree / "lib/systemd/system" / name).read_text(encoding="utf-8")
    for line in ("Type=notify", "ExecReload=-/bin/kill -HUP $MAINPID"):
        assert re.search(rf"^{re.escape(line)}$", text, re.MULTILINE), line


def test_watch_ends_for_good(tree):
    """Where podspan-watch cannot run, its unit has failed and says so: it is neither started again nor skipped in silence."""
    text = (tree / "lib/systemd/system/podspan-watch.service").read_text(encoding="utf-8")
    code = re.search(r"^#define WATCHSTATE_EXIT_REFUSED (\d+)$", (REPO / "lib/watchstate.h").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert code in re.search(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)[1].split()
    assert not re.search(r"^Condition", text, re.MULTILINE)
    # Of kernels before 5.11: what it maps is charged to it, and it may not raise the limit.
    assert re.search(r"^LimitMEMLOCK=infinity$", text, re.MULTILINE)


def test_crio_socket_name(tree):
    """kubelet knows CRI-O by this suffix (ARCHITECTURE.md, decision 12)."""
    text = (tree / "lib/systemd/system/podspan-cri@.socket").read_text(encoding="utf-8").replace("%i", "crio")
    assert re.search(r"^ListenStream=.*/run/crio/crio\.sock$", text, re.MULTILINE)
