"""What the container runtimes under test have in common."""

import itertools
import json
import shutil
import tempfile
from pathlib import Path

import grpc

from . import cri, session

_serial = itertools.count(1)
CNI_PLUGINS = "/usr/lib/cni"


def hooks_d(folder, hooks):
    """Writes hooks as CRI-O and podman read them: {stage: [argv, or the hook as OCI has it, …]}."""
    folder.mkdir(exist_ok=True)
    for stage, commands in hooks.items():
        for number, argv in enumerate(commands):
            (folder / f"10-{stage}-{number}.json").write_text(json.dumps({
                "version": "1.0.0",
                "hook": argv if isinstance(argv, dict) else {"path": str(argv[0]), "args": [str(part) for part in argv]},
                "when": {"always": True}, "stages": [stage]}), encoding="utf-8")
    return folder


def oci_hooks(hooks):
    """The same hooks as the OCI runtime specification has them."""
    return {stage: [{"path": str(argv[0]), "args": [str(part) for part in argv]} for argv in commands]
            for stage, commands in hooks.items()}


def kept(pidfile, program):
    """A command that starts a program anew whenever it ends, as systemd does: what it started lives on. Its pid is in a file."""
    again = 'while :; do "$@" & echo $! >"$0.new"; mv "$0.new" "$0"; wait $!; done'
    return ["sh", "-c", again, pidfile, *program]


class Runtime:
    """A runtime with everything it owns in one folder; a context manager."""

    kind = ""

    def __init__(self, cni=True, cni_script=None):
        self.number = next(_serial)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.kind}{self.number}-"))
        self.cgroup = f"/{self.folder.parent.name}-{self.folder.name}"
        self.socket = self.folder / f"{self.kind}.sock"
        self.daemon = None
        self._cni, self._cni_script = cni, cni_script

    def write_cni(self):
        """A bridge of this runtime's own, or a plugin that is a script; without CNI an empty folder."""
        folder = self.folder / "cni"
        folder.mkdir()
        if self._cni_script:
            plugins = self.folder / "cni-plugins"
            plugins.mkdir()
            (plugins / "loopback").symlink_to(f"{CNI_PLUGINS}/loopback")
            (plugins / "script").write_text(self._cni_script, encoding="utf-8")
            (plugins / "script").chmod(0o755)
            (folder / "10-tests.conflist").write_text(json.dumps(
                {"cniVersion": "0.4.0", "name": "tests", "plugins": [{"type": "script"}]}), encoding="utf-8")
            return folder, plugins
        if self._cni:
            (folder / "10-tests.conflist").write_text(json.dumps({
                "cniVersion": "0.4.0", "name": f"tests{self.number}", "plugins": [
                    {"type": "bridge", "bridge": f"psit{self.number}", "isGateway": True, "ipMasq": False,
                     "ipam": {"type": "host-local", "dataDir": str(self.folder / "ipam"),
                              "ranges": [[{"subnet": f"10.{100 + self.number % 100}.0.0/16"}]]}}]}), encoding="utf-8")
        return folder, CNI_PLUGINS

    def client(self, socket=None):
        """A CRI client to this runtime, or to whatever stands in front of it."""
        return cri.CriClient(socket or self.socket)

    def ready(self):
        """True once the runtime says that it can run pods."""
        try:
            with self.client() as client:
                conditions = client("Status", deadline=5).status.conditions
        except grpc.RpcError:
            return False
        return all(condition.status or (condition.type == "NetworkReady" and not self._cni)
                   for condition in conditions if condition.type in ("RuntimeReady", "NetworkReady"))

    def start(self):
        """Starts the runtime and waits until it can run pods."""
        raise NotImplementedError

    def close(self):
        """Ends the runtime with all its pods, and removes what they leave."""
        if self.daemon is not None:
            self.daemon.stop()
        session.unmount_below(self.folder)
        session.remove_cgroups(self.cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()
