"""`podspan install kubelet` on units and environment files, judged by systemd's own reading of them.

A seeded generator makes nodes: a kubelet.service, drop-ins in several folders, environment files. It seeks the forms that
an editor of text gets wrong. The judge is systemd 252: `systemd --test` prints the command and the variables of each unit,
and the functions of libsystemd-shared that its executor calls read the environment files and replace the variables.
"""

import concurrent.futures
import ctypes
import glob
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PODSPAN_BUILD", ROOT / "build"))
PODSPAN = BUILD / "cli" / "podspan"
RUNTIME = "unix:///run/containerd/containerd.sock"
OURS = "unix:///run/podspan/run/containerd/containerd.sock"
FLAG, IMAGE = "--container-runtime-endpoint", "--image-service-endpoint"
SEEDS = int(os.environ.get("PODSPAN_SEEDS", "320"))
CONFIG = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 10\n"
ETC, RUN, LIB = "etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system"


class Node:
    """One random node: its files by path."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.files = {"var/lib/kubelet/config.yaml": CONFIG}
        # Half of the nodes have only forms that must be edited.
        self.plain = seed % 2 == 0
        self.variables = []
        self.environment_files = []
        self.make()

    def chance(self, of):
        return self.random.random() < of

    def pick(self, plain, odd=()):
        return self.random.choice([*plain, *(() if self.plain else odd)])

    def value(self):
        return self.pick([RUNTIME, RUNTIME, "/run/containerd/containerd.sock", "unix:///var/run/containerd/containerd.sock"],
                         ["unix:///run/other.sock", "%t/containerd/containerd.sock", "unix:///run/containerd/./containerd.sock",
                          "unix:///run/containerd\\x2fcontainerd.sock", "unix:///run/contain'erd/contai'nerd.sock",
                          "unix:///run/100%%/x.sock", "${EP}", "$EP", "", "unix:///run/containerd/\\\n   containerd.sock",
                          "unix:///run/containerd\\/containerd.sock"])

    def flag(self, quotes=("", '"', "'")):
        """Our flag in a unit, as one text."""
        name, value = self.random.choice([FLAG, FLAG, FLAG, IMAGE]), self.value()
        q = self.random.choice(quotes)
        return self.pick([f"{name}={value}", f"{q}{name}={value}{q}", f"{name}={q}{value}{q}", f"{name} {value}",
                          f"{name} {q}{value}{q}"],
                         [f"{name} \\\n    {value}", f"{name} \\\n# {name}=x\n  {value}", f"{name}\t{value}", f"{q}{name} {value}{q}",
                          f"-{name}={value}", f"{name}s={value}", name.replace("-run", "\\x2drun") + f"={value}", f"{name}= {value}"])

    def word(self):
        return self.pick(["--v=2", "--node-ip=10.0.0.7", "'--x=a b'", '"--y=c d"', "--config=/var/lib/kubelet/config.yaml"],
                         ["--z=\\x41", "%n", "%%", "--q=it\\'s", '"--w=\\"in\\""', "--a=${EP}", "$NOTHING", "--tab=a\\tb", "''",
                          f"--note='{FLAG}'", "\\;", f"--runtime=x{FLAG}"])

    def words(self, flags, quotes=("", '"', "'")):
        words = [self.word() for _ in range(self.random.randrange(3))] + [self.flag(quotes) for _ in range(flags)]
        self.random.shuffle(words)
        return words

    def separator(self):
        return self.pick([" ", "  ", " \\\n  "], ["\t", " \\\n# comment\n  ", " \\\n; comment \\\n  ", " \\\r\n "])

    def joined(self, words):
        text = ""
        for word in words:
            text += (self.separator() if text else "") + word
        return text

    def in_variable(self, quote, flags):
        """The content of a variable that stands in @quote: its words may have the other quotes."""
        other = {"'": ("", '"'), '"': ("", "'"), "": ("",)}[quote]
        words = [w for w in self.words(flags, other) if quote not in w or not quote]
        words = [w for w in words if quote or not re.search(r"[\s'\"\\;]", w)]
        return " ".join(words) if quote else "".join(words[:1])

    def environment(self):
        """Environment= lines of a unit."""
        lines = []
        for name in self.random.sample(["KUBELET_ARGS", "KUBELET_KUBEADM_ARGS", "EXTRA", "EP"], self.random.randrange(1, 3)):
            self.variables.append(name)
            quote = self.random.choice(['"', "'", ""])
            content = self.value() if name == "EP" else self.in_variable(quote, self.random.choice([0, 1, 1]))
            more = self.pick(["", "", " B=2", ' "C=three words"'], [" D=%i", " bad", ' "E=\\x41"', " ="])
            lines.append(self.pick([f"Environment={quote}{name}={content}{quote}{more}"],
                                   [f"Environment = {quote}{name}={content}{quote}{more}", f"Environment={name}={quote}{content}{quote}",
                                    f"Environment=A=b \\\n {quote}{name}={content}{quote}", "Environment=",
                                    f"Environment={quote}{name}={content}{more}"]))
        return lines

    def environment_file(self):
        path = self.random.choice(["/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet"])
        lines = []
        for _ in range(self.random.randrange(1, 4)):
            name = self.random.choice(["KUBELET_KUBEADM_ARGS", "KUBELET_EXTRA_ARGS", "EP"])
            self.variables.append(name)
            quote = self.random.choice(['"', "'", '"'])
            content = self.in_variable(quote, self.random.choice([0, 1, 1]))
            lines.append(self.pick([f"{name}={quote}{content}{quote}", f"# {name}={quote}{FLAG}={RUNTIME}{quote}", "", f"; {FLAG}=x"],
                                   [f"{name} = {quote}{content}{quote}  ", f"export {name}={quote}{content}{quote}",
                                    f"{name}={quote}{content}", f"{name}={content}", f"{name}={content} \\\n  --more",
                                    f"{name}={quote}a {quote}{quote}{content}{quote}", f"{name}={quote}--x \\\n{content}{quote}",
                                    f"# comment \\\n{name}={quote}{content}{quote}", f"{name}={quote}{content}{quote} # {FLAG}=x",
                                    f"  {name}={quote}{content}{quote}\r", f"{name}=", name]))
        if self.chance(0.9):
            self.files[path[1:]] = "\n".join(lines) + self.random.choice(["\n", ""])
        self.environment_files.append(path)
        return self.pick([f"EnvironmentFile=-{path}"], [f"EnvironmentFile={path}", f"EnvironmentFile = -{path}", "EnvironmentFile=",
                                                        f"EnvironmentFile=-{path}*", f"EnvironmentFile=-{path}.%i"])

    def command(self):
        uses = [self.pick([f"${name}"], [f"${{{name}}}", f"$${name}", f"x${name}", f"'${name}'"]) for name in dict.fromkeys(self.variables)
                if self.chance(0.8)]
        words = self.words(self.random.choice([0, 1, 1, 2]) if not uses else self.random.choice([0, 0, 1]))
        words += uses
        self.random.shuffle(words)
        program = self.pick(["/usr/bin/kubelet"], ["-/usr/bin/kubelet", "@/usr/bin/kubelet kubelet",
                                                   "!/usr/bin/kubelet", "/usr/local/bin/kubelet-wrapper"])
        end = self.pick([""], ["", "", "", f" ; /bin/true {FLAG}={RUNTIME}", ' "open', " \\", " ;"])
        key = self.pick(["ExecStart="], ["ExecStart=", "ExecStart = ", "  ExecStart=\t", "ExecStart=\\\n  "])
        return key + self.joined([program, *words]) + end

    def unit(self, lines, main):
        head = self.pick(["[Service]"], ["[Service]", "[Service]", "[Service", " [Service] ", "[service]"] if self.chance(0.3) else [])
        text = [head, *lines]
        if main:
            text = ["[Unit]", "Description=kubelet", *text, "[Install]", f"WantedBy=x {FLAG}=/x"]
        if self.chance(0.2):
            text.insert(1, f"# ExecStart=/usr/bin/kubelet {FLAG}={RUNTIME}")
        if self.chance(0.2):
            text.insert(2, f"ExecStartPre=/bin/true {FLAG}={RUNTIME}")
        return self.pick([""], ["", "", "\ufeff"]) + self.pick(["\n"], ["\n", "\r\n"]).join(text) + self.random.choice(["\n", ""])

    def make(self):
        parts = self.random.randrange(0, 4)
        main = []
        for _ in range(self.random.randrange(3)):
            main += self.environment() if self.chance(0.5) else [self.environment_file()]
        main.append(self.command())
        self.files[f"{self.random.choice([ETC, RUN, LIB])}/kubelet.service"] = self.unit(main, True)
        for _ in range(parts):
            lines = []
            if self.chance(0.5):
                lines += self.environment()
            if self.chance(0.5):
                lines.append(self.environment_file())
            if self.chance(0.5):
                lines += ["ExecStart="] if self.chance(0.9) or self.plain else []
                lines.append(self.command())
            folder = self.random.choice(["kubelet.service.d"] * 4 + ["service.d"])
            name = self.random.choice(["10-a.conf", "20-b.conf", "30-c.conf"])
            self.files[f"{self.random.choice([ETC, RUN, LIB])}/{folder}/{name}"] = self.unit(lines, False)


def unquote(line):
    """The words of a "Command Line:" of systemd's dump."""
    words, i = [], 0
    plain = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
    while i < len(line):
        word = ""
        if line[i] != '"':
            end = line.find(" ", i)
            end = len(line) if end < 0 else end
            word, i = line[i:end], end
        else:
            i += 1
            while line[i] != '"':
                if line[i] == "\\":
                    i += 1
                    if line[i] in "01234567":
                        word += chr(int(line[i:i + 3], 8))
                        i += 3
                        continue
                    word += plain.get(line[i], line[i])
                else:
                    word += line[i]
                i += 1
            i += 1
        words.append(word)
        assert i == len(line) or line[i] == " ", line
        i += 1
    return words


class Judge:
    """systemd itself."""

    def __init__(self):
        library, = glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so")
        self.shared = ctypes.CDLL(library)
        self.shared.load_env_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p)]
        self.shared.replace_env_argv.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_char_p)]
        self.shared.replace_env_argv.restype = ctypes.POINTER(ctypes.c_char_p)

    def load(self, path):
        found = ctypes.c_void_p()
        if self.shared.load_env_file(None, str(path).encode(), ctypes.byref(found)) < 0 or not found.value:
            return []
        array, out = ctypes.cast(found, ctypes.POINTER(ctypes.c_char_p)), []
        while array[len(out)] is not None:
            out.append(array[len(out)])
        return out

    def replace(self, argv, environment):
        given = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
        variables = (ctypes.c_char_p * (len(environment) + 1))(*environment, None)
        array, out = self.shared.replace_env_argv(given, variables), []
        while array[len(out)] is not None:
            out.append(array[len(out)].decode(errors="surrogateescape"))
        return out

    def dump(self, top, roots):
        """What `systemd --test` says of the units of all nodes, in one run: one unit each, under a name of its own."""
        units = top / "units"
        shutil.rmtree(units, ignore_errors=True)
        for i, root in enumerate(roots):
            for folder in (ETC, RUN, LIB):
                for path in (root / folder).rglob("*"):
                    if not path.is_file():
                        continue
                    name = str(path.relative_to(root / folder))
                    # Drop-ins of all services become the node's own: the name decides the order in both cases.
                    own = name.replace("kubelet.service", f"k{i}.service", 1)
                    if name.startswith("service.d/"):
                        own = f"k{i}.service.d/{os.path.basename(name)}"
                        if any((root / other / "kubelet.service.d" / path.name).exists() for other in (ETC, RUN, LIB)):
                            continue
                    target = units / folder.replace("/", "-") / own
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
        for folder in (ETC, RUN, LIB):
            (units / folder.replace("/", "-")).mkdir(parents=True, exist_ok=True)
        path = ":".join(str(units / folder.replace("/", "-")) for folder in (ETC, RUN, LIB))
        (units / "etc-systemd-system" / "all.target").write_text(
            "[Unit]\nDefaultDependencies=no\n" + "".join(f"Wants=k{i}.service\n" for i in range(len(roots))))
        as_nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
        for folder in (top, *top.parents):
            if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 1:
                folder.chmod(folder.stat().st_mode | 0o111)
        done = subprocess.run(["/lib/systemd/systemd", "--test", "--system", "--unit=all.target"], capture_output=True, timeout=120,
                              check=False, errors="surrogateescape", **as_nobody,
                              env={"SYSTEMD_UNIT_PATH": path, "SYSTEMD_LOG_TARGET": "console", "PATH": "/usr/bin:/bin"})
        assert "-> Unit all.target:" in done.stdout, (done.stdout[-2000:], done.stderr[-2000:])
        found = {}
        for block in re.split(r"^\t-> Unit ", done.stdout, flags=re.M):
            match = re.match(r"k(\d+)\.service:\n", block)
            if match:
                found[int(match[1])] = block
        return found

    def arguments(self, root, block):
        """What kubelet is called with; None if systemd starts nothing."""
        if block is None or "Unit Load State: loaded" not in block:
            return None
        section = re.search(r"-> ExecStart:\n((?:\t\t\tCommand Line: .*\n)*)", block)
        lines = re.findall(r"Command Line: (.*)", section[1]) if section else []
        if len(lines) != 1:
            return None
        variables = {}
        for line in re.findall(r"^\t\tEnvironment: (.*)", block, flags=re.M):
            name, _, value = line.partition("=")
            variables[name] = value.encode(errors="surrogateescape")
        for line in re.findall(r"^\t\tEnvironmentFile: (.*)", block, flags=re.M):
            optional, line = line.startswith("-"), line.lstrip("-")
            paths = [path for path in glob.glob(str(root) + line) if os.path.isfile(path)]
            if not paths and not optional:
                return None
            for path in sorted(paths):
                for item in self.load(path):
                    name, _, value = item.partition(b"=")
                    if re.fullmatch(rb"[A-Za-z_][A-Za-z0-9_]*", name):
                        variables[name.decode()] = value
        argv = [word.encode(errors="surrogateescape") for word in unquote(lines[0])]
        return self.replace(argv, [name.encode() + b"=" + value for name, value in variables.items()])


def flags(argv):
    """The values of our flags, as kubelet takes them from @argv, in their order."""
    found, i = [], 1
    while i < len(argv):
        for name in (FLAG, IMAGE):
            if argv[i].startswith(name + "="):
                found.append((name, argv[i][len(name) + 1:]))
            elif argv[i] == name and i + 1 < len(argv):
                i += 1
                found.append((name, argv[i]))
                break
        i += 1
    return found


def is_runtime(value):
    path = value[7:] if value.startswith("unix://") else value
    return os.path.normpath(path).replace("/var/run/", "/run/") == "/run/containerd/containerd.sock" if path.startswith("/") else False


def expected(argv):
    """@argv with each flag that names the runtime at our socket."""
    out, i = list(argv), 1
    while i < len(out):
        for name in (FLAG, IMAGE):
            if out[i].startswith(name + "=") and is_runtime(out[i][len(name) + 1:]):
                out[i] = f"{name}={OURS}"
            elif out[i] == name and i + 1 < len(out):
                i += 1
                out[i] = OURS if is_runtime(out[i]) else out[i]
                break
        i += 1
    return out


def install(root):
    done = subprocess.run([PODSPAN, "install", "--root", root, "kubelet", "--yes"], capture_output=True, text=True, timeout=60,
                          check=False, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    return done.returncode, done.stdout + done.stderr


def write(top, seed):
    root = top / str(seed)
    node = Node(seed)
    for name, text in node.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    for folder in ("etc/podspan", "proc", "run/containerd", "run/podspan"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "run/containerd/containerd.sock").touch()
    (root / "var/run").symlink_to("../run")
    return root


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def judge(before, after, code, unchanged, output, root):
    """Why this outcome is wrong; None if it is right."""
    if code != 0:
        if not unchanged:
            return "refused, and yet changed"
        return None
    if before is None:
        return None if after is None else "a unit that systemd did not start is started now"
    if after is None:
        return "systemd does not read the unit any more"
    if after != expected(before):
        return "systemd passes other arguments than it has to"
    ends = [value for name, value in flags(after) if name == FLAG]
    config = (root / "var/lib/kubelet/config.yaml").read_text()
    if (ends[-1] != OURS) if ends else f"containerRuntimeEndpoint: {OURS}" not in config.replace('"', ""):
        return "installed, and yet kubelet goes to another socket"
    return None


@pytest.fixture
def top(tmp_path):
    """In memory where that is possible: podspan syncs what it writes."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield pathlib.Path(folder)


def test_random_units_judged_by_systemd(top):
    seeds = range(SEEDS)
    roots = [write(top, seed) for seed in seeds]
    systemd = Judge()
    before_blocks = systemd.dump(top, roots)
    before = [systemd.arguments(root, before_blocks.get(i)) for i, root in enumerate(roots)]
    texts = [contents(root) for root in roots]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(install, roots))
    after_blocks = systemd.dump(top, roots)
    after = [systemd.arguments(root, after_blocks.get(i)) for i, root in enumerate(roots)]
    wrong, edited, refused, plain_refused, starts = [], 0, {}, [], 0
    for i, root in enumerate(roots):
        code, output = results[i]
        assert code in (0, 1), (i, output)
        now = contents(root)
        unchanged = all(now.get(name) == text for name, text in texts[i].items())
        why = judge(before[i], after[i], code, unchanged, output, root)
        starts += before[i] is not None
        if code == 0:
            edited += before[i] is not None and bool(flags(before[i]))
        else:
            reason = re.sub(r"^.*not edited: |; write there.*$", "", output.strip().splitlines()[-1])
            refused[reason] = refused.get(reason, 0) + 1
            if i % 2 == 0:
                plain_refused.append((i, output.strip().splitlines()[-1]))
        if why:
            wrong.append((i, why, before[i], after[i], output, {k: v for k, v in texts[i].items() if "etc/podspan" not in k}))
    print(f"{len(roots)} nodes, systemd starts {starts}, {edited} with flags edited, refused: {refused}")
    assert not wrong, (len(wrong), [w[1] for w in wrong], wrong[:2])
    assert starts > SEEDS * 0.6 and edited > SEEDS * 0.3, (starts, edited)
    assert not plain_refused, plain_refused[:5]
