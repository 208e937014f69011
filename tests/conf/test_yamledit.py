"""Edits of KubeletConfigurations, judged by a parser that is not the editor's: PyYAML's own, in Python.

The generator seeks the forms of YAML that an editor of text gets wrong.
"""

import json
import os
import pathlib
import random
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PODSPAN_BUILD", ROOT / "build"))
KEY, VALUE = "containerRuntimeEndpoint", "unix:///run/podspan/run/crio/crio.sock"
ENDPOINT = "unix:///run/crio/crio.sock"
SEEDS = 4000


class Document:
    """One random document. Its text is valid most of the time; the judge says so."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.eol = self.random.choice(["\n", "\n", "\n", "\r\n"])
        self.text = self.stream().encode()

    def chance(self, of):
        return self.random.random() < of

    def key(self, name):
        kind = self.random.randrange(12)
        if kind == 0:
            return f'"{name}"'
        if kind == 1:
            return f"'{name}'"
        if kind == 2:
            return '"' + name.replace(name[0], "\\x%02x" % ord(name[0]), 1) + '"'
        return name

    def scalar(self, indent):
        more = self.eol + " " * (indent + self.random.choice([1, 2, 4]))
        return self.random.choice([
            "1", "true", "10s", "plain # comment", "'single ''quoted'''", '"double \\"quoted\\" \\u00e4"', "~", "",
            "ä€😀", "'a: b'", '"# no comment"', "a#b", f"two{more}lines", f"'two{more}lines'", f'"two{more}lines"',
            f'"three \\{more}lines"', f"|{more}literal{more}text", f">-{more}folded{more}text", f"|+{more}kept{self.eol}",
            "&anchor value", "!!str 5", "[1, 'two', {three: 3}]", "{a: 1, \"b\": [2]}", f"[1,{more}2]", f"{{a: 1,{more}b: 2}}",
        ])

    def endpoint(self, indent):
        more = self.eol + " " * (indent + 2)
        return self.random.choice([
            ENDPOINT, ENDPOINT, f'"{ENDPOINT}"', f"'{ENDPOINT}'", f"{ENDPOINT} # why", f'"{ENDPOINT}"   # "why"', "", "~",
            "# nothing", f">-{more}{ENDPOINT}", f"|{more}{ENDPOINT}", f"{ENDPOINT}{more}more", f'"unix://\\{more}/run/x.sock"',
            f"&a {ENDPOINT}", f"!!str {ENDPOINT}", f"!!str '{ENDPOINT}'", f"{more}{ENDPOINT}", f"{more}\"{ENDPOINT}\"",
            "*anchor", "[a]", "{a: b}", "''", '"unix:\\x2f/a"', f"\t{ENDPOINT}\t", f"{ENDPOINT}\t# tab",
        ])

    def block(self, indent, names, depth=0):
        pad, lines = " " * indent, []
        for name in names:
            if self.chance(0.1):
                lines.append(self.random.choice(["", "# comment", f"{pad}# {KEY}: commented", "   "]))
            if name == KEY:
                value = self.endpoint(indent)
            elif depth < 2 and self.chance(0.2):
                inner = self.random.sample(["a", "b", KEY, "kind", "endpoint"], 2)
                value = self.eol + self.block(indent + self.random.choice([1, 2, 4]), inner, depth + 1)
            elif self.chance(0.08):
                value = self.eol + self.eol.join(f"{pad}- {x}" for x in ("one", "two: 2", f"{KEY}: x"))
            else:
                value = self.scalar(indent)
            if self.chance(0.04):
                lines.append(f"{pad}? {self.key(name)}{self.eol}{pad}: {value}")
            else:
                gap = self.random.choice([" ", " ", " ", "   "]) if value[:1] not in ("\n", "\r") else ""
                lines.append(f"{pad}{self.key(name)}{self.random.choice(['', '', '', ' '])}:{gap}{value}")
        return self.eol.join(lines)

    def flow(self, names):
        space = lambda: self.random.choice(["", " ", "  ", self.eol, f"{self.eol}  "])  # noqa: E731
        quote = self.random.choice(['"', '"', "'", ""])
        pairs = []
        for name in names:
            value = self.random.choice([f'"{ENDPOINT}"', f"'{ENDPOINT}'", ENDPOINT, "~"]) if name == KEY else \
                self.random.choice(['"x"', "1", "[1, 2]", '{"a": "}"}', "null", "'it''s'"])
            pairs.append(f"{space()}{quote}{name}{quote}:{self.random.choice([' ', ' ', f'{self.eol}   '])}{value}{space()}")
        return "{" + ",".join(pairs) + self.random.choice(["", "", "", ","] if pairs else [""]) + "}"

    def names(self):
        names = self.random.sample(["apiVersion", "cgroupDriver", "tracing", "evictionHard", "kubeAPIQPS", "staticPodPath",
                                    f"{KEY}s", "x"], self.random.randrange(5))
        if self.chance(0.7):
            names.append(KEY)
        if self.chance(0.03):
            names.append(KEY)
        self.random.shuffle(names)
        return names

    def root(self):
        kind = self.random.randrange(20)
        if kind < 3:
            return self.flow(self.names())
        if kind == 3:
            return json.dumps({name: ENDPOINT if name == KEY else {"a": [1, "ä"]} for name in self.names()},
                              indent=self.random.choice([None, 2, "\t"]), ensure_ascii=self.chance(0.5))
        if kind == 4:
            return self.random.choice(["", "# only a comment", "~", "- a" + self.eol + "- b", "&a"])
        indent = self.random.choice([0, 0, 0, 0, 0, 2, 4])
        text = self.block(indent, self.names())
        if kind == 5:
            text = " " * indent + "base: &anchor {x: 1}" + self.eol + " " * indent + "<<: *anchor" + self.eol + text
        if kind == 6:
            text = " " * indent + "kind: KubeletConfiguration" + self.eol + text
        if kind == 7:
            text = "!!map" + self.eol + text
        return text

    def stream(self):
        text = self.root()
        if self.chance(0.15):
            text = "---" + self.random.choice([self.eol, f" # first{self.eol}"]) + text
        if self.chance(0.08):
            text = f"%YAML 1.1{self.eol}---{self.eol}" + text
        if self.chance(0.15):
            text += f"{self.eol}---{self.eol}" + self.random.choice(["kind: KubeletConfiguration" + self.eol, ""]) + self.root()
        if self.chance(0.08):
            text += f"{self.eol}..."
        if self.chance(0.85):
            text += self.eol
        if self.chance(0.05):
            text += f"# the end{self.eol}"
        if self.chance(0.08):
            text = "\ufeff" + text
        return text


def meaning(node):
    """A node as tags and values; a mapping as a list of pairs, so that nothing is hidden by a key that is there twice."""
    if isinstance(node, yaml.MappingNode):
        return node.tag, [(meaning(key), meaning(value)) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return node.tag, [meaning(item) for item in node.value]
    return node.tag, node.value


def documents(text):
    """What the judge reads, None for what it refuses."""
    try:
        nodes = list(yaml.compose_all(text.decode(), Loader=yaml.SafeLoader))
    except (yaml.YAMLError, ValueError):
        return None
    return [meaning(node) if node is not None else ("tag:yaml.org,2002:null", "") for node in nodes]


NULL = "tag:yaml.org,2002:null"
STRING = "tag:yaml.org,2002:str"
MAP = "tag:yaml.org,2002:map"


def expected(docs):
    """What the documents have to mean after the edit: of the right one, one key."""
    def kubelets(doc):
        return doc[0] == MAP and ((STRING, "kind"), (STRING, "KubeletConfiguration")) in doc[1]

    if not docs:
        docs = [(NULL, "")]
    chosen = next((i for i, doc in enumerate(docs) if kubelets(doc)), None)
    if chosen is None:
        chosen = next((i for i, doc in enumerate(docs) if doc[0] != NULL), 0)
    pairs = [] if docs[chosen][0] == NULL else docs[chosen][1]
    others = [pair for pair in pairs if pair[0] != (STRING, KEY)]
    return chosen, others, [doc for i, doc in enumerate(docs) if i != chosen]


def run(texts):
    frames = b"".join(b"%08x%s" % (len(text), text) for text in texts)
    tool = BUILD / "tests/unit/cli/yamltool"
    done = subprocess.run([tool, KEY, VALUE], input=frames, capture_output=True, timeout=120, check=True)
    out, at = [], 0
    while at < len(done.stdout):
        size = int(done.stdout[at:at + 8], 16)
        out.append(done.stdout[at + 8:at + 8 + size])
        at += 8 + size
    assert len(out) == len(texts)
    return out


def check(before, after):
    """Why @after is not the edit of @before that it has to be; None if it is."""
    docs = documents(before)
    new = documents(after)
    if docs is None:
        return None if new is None else "an edit of what is not YAML"
    if new is None:
        return "no YAML any more"
    chosen, others, rest = expected(docs)
    if [doc for i, doc in enumerate(new) if i != chosen] != rest:
        return "another document changed"
    if new[chosen][0] != MAP or ((STRING, KEY), (STRING, VALUE)) not in new[chosen][1]:
        return "the key is not set"
    if [pair for pair in new[chosen][1] if pair[0] != (STRING, KEY)] != others:
        return "another key changed"
    if sum(pair[0] == (STRING, KEY) for pair in new[chosen][1]) != 1:
        return "the key is there twice"
    # One piece of text was replaced; what it replaced is part of one line.
    head = len(os.path.commonprefix([before, after]))
    tail = min(len(os.path.commonprefix([before[::-1], after[::-1]])), len(before) - head, len(after) - head)
    removed = before[head:len(before) - tail]
    return "more than one line was touched" if b"\n" in removed else None


def test_random_documents_judged_by_another_parser():
    texts = [Document(seed).text for seed in range(SEEDS)]
    results = run(texts)
    wrong, edited, refused, valid = [], 0, {}, 0
    for seed, (before, after) in enumerate(zip(texts, results)):
        valid += documents(before) is not None
        if after.startswith(b"\x01"):
            line, _, what = after[1:].decode().partition(" ")
            assert 1 <= int(line) <= before.count(b"\n") + 1 and what, (seed, after)
            refused[what] = refused.get(what, 0) + (documents(before) is not None)
            continue
        edited += 1
        why = check(before, after)
        if why:
            wrong.append((seed, why, before, after))
    print(f"{len(texts)} documents, {valid} valid, {edited} edited, refused though valid: {refused}")
    assert not wrong, (len(wrong), wrong[:3])
    # A refusal is safe, and useless: most of what is valid is edited.
    assert valid > SEEDS / 2 and edited > 0.6 * valid, (valid, edited, refused)


@pytest.mark.parametrize("text", [
    "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
    "\ufeffapiVersion: kubelet.config.k8s.io/v1beta1\n",
    "%YAML 1.1\n---\na: 1\n",
    "  a: 1\n  b: 2\n",
    "a: >\n  folded\n  text\n",
    "a: one\n  two\n",
    f"'{KEY}': \"{ENDPOINT}\"\n",
    f'"container\\x52untimeEndpoint": {ENDPOINT}\n',
])
def test_forms_that_must_be_edited(text):
    after, = run([text.encode()])
    assert not after.startswith(b"\x01"), after
    assert check(text.encode(), after) is None, after
