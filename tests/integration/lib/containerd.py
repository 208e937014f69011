"""containerd, Debian's 1.6.20 or our build of 2.3.7."""

import json

from . import images
from .paths import oci_runtime, packaged, peer
from .process import Daemon, run, wait_for
from .runtime import Runtime, kept, oci_hooks

VERSIONS = ["1.6.20", "2.3.7"]

_COMMON = """
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.restart"{disabled}]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""

_VERSION_2 = """version = 2""" + _COMMON + """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = {restrict}
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_plugins}"
    conf_dir = "{cni_folder}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "{runtime}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{runtime}]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = "{spec}"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{runtime}.options]
        BinaryName = "{runtime_path}"
        SystemdCgroup = {systemd_cgroup}
"""

_VERSION_3 = """version = 3""" + _COMMON + """
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{folder}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = {restrict}
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{cni_plugins}"]
    conf_dir = "{cni_folder}"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "{runtime}"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{runtime}]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = "{spec}"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{runtime}.options]
        BinaryName = "{runtime_path}"
        SystemdCgroup = {systemd_cgroup}
"""


class Containerd(Runtime):
    """hooks: {stage: [argv, …]}; otel_endpoint: "http://127.0.0.1:PORT" for containerd's own spans (2.x only);
    registries: addresses of registries that speak plain HTTP; systemd_cgroup: as kubeadm sets it; cni_script: the text of a CNI plugin;
    restarts: it is started anew when it ends, and its pid is in the file containerd.self.
    """

    kind = "containerd"

    def __init__(self, version="2.3.7", runtime="runc", hooks=None, otel_endpoint=None, cni=True, registries=(),
                 env=None, systemd_cgroup=False, cni_script=None, restarts=False):
        super().__init__(cni, cni_script)
        self._registries, self._systemd_cgroup, self._restarts = registries, systemd_cgroup, restarts
        self.version, self.runtime, self.hooks = version, runtime, hooks or {}
        self._packaged = version.startswith("1.")
        self._env = dict(env or {})
        if otel_endpoint:
            self._env.update(OTEL_EXPORTER_OTLP_ENDPOINT=otel_endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
                             OTEL_BSP_SCHEDULE_DELAY="200")

    def program(self, name):
        """containerd or ctr of this version."""
        return packaged(name) if self._packaged else peer("containerd", name)

    def ctr(self, *arguments):
        """Runs ctr in the namespace of the CRI."""
        return run(self.program("ctr"), "--address", self.socket, "--namespace", "k8s.io", *arguments).stdout

    def _write_spec(self):
        """The base runtime spec with the hooks; without hooks there is none, as on a stock node."""
        if not self.hooks:
            return ""
        spec = json.loads(run(self.program("ctr"), "oci", "spec").stdout)
        spec["hooks"] = oci_hooks(self.hooks)
        path = self.folder / "base-spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        return path

    def _write_registries(self):
        for address in self._registries:
            folder = self.folder / "certs.d" / address
            folder.mkdir(parents=True)
            (folder / "hosts.toml").write_text(f'server = "http://{address}"\n', encoding="utf-8")

    def _write_config(self):
        self._write_registries()
        cni_folder, cni_plugins = self.write_cni()
        template = _VERSION_2 if self._packaged else _VERSION_3
        path = self.folder / "config.toml"
        path.write_text(template.format(
            folder=self.folder, socket=self.socket, runtime=self.runtime, runtime_path=oci_runtime(self.runtime),
            cni_folder=cni_folder, cni_plugins=cni_plugins, spec=self._write_spec(), restrict="true",
            systemd_cgroup="true" if self._systemd_cgroup else "false",
            disabled="" if "OTEL_EXPORTER_OTLP_ENDPOINT" in self._env else
            ', "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"'), encoding="utf-8")
        return path

    def start(self):
        path = f"{self.program('containerd').parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        command = [self.program("containerd"), "--config", self._write_config()]
        if self._restarts:
            command = kept(self.folder / "containerd.self", command)
        self.daemon = Daemon("containerd", command, self.folder, env={**self._env, "PATH": path})
        self.daemon.wait_until(self.ready, "ready for pods")
        for name in images.NAMES:
            self.ctr("images", "import", "--base-name", f"localhost/{name}", images.archive(name))
        with self.client() as client:
            wait_for(lambda: self._images(client) >= {f"localhost/{name}:1" for name in images.NAMES},
                     "the CRI knows the imported images")

    @staticmethod
    def _images(client):
        return {tag for image in client("ListImages").images for tag in image.repo_tags}
