"""tests/tool/layers fails where an include points up, into a neighbouring room, or in a circle."""

import shutil
import subprocess

import pytest

from test_conf import REPO


def layers(root):
    done = subprocess.run([REPO / "tests/tool/layers", root], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.fixture(name="tree")
def fixture_tree(tmp_path):
    """The sources alone, to be spoilt."""
    for folder in ("proto", "lib", "agent", "cli", "cri-hooks", "oci-hooks", "proc-watch", "shim", "tests/unit", "tests/fuzz"):
        shutil.copytree(REPO / folder, tmp_path / folder, ignore=lambda folder, names: [
            name for name in names if "." in name and not name.endswith((".c", ".h"))])
    return tmp_path


def test_as_it_is(tree):
    assert layers(tree)[0] == 0


@pytest.mark.parametrize("file, header, words", [
    ("lib/base/clk.c", '"span.h"', "lib/base may not include span.h"),
    ("lib/otel/span.c", '"config.h"', "lib/otel may not include config.h"),
    ("lib/node/spool.c", '"agent.h"', "lib may not include agent.h"),
    ("cri-hooks/wire/pbscan.c", '"tap.h"', "cri-hooks/wire may not include tap.h"),
    ("cli/edit/flagedit.c", '"nodefile.h"', "cli/edit may not include nodefile.h"),
    ("cli/view/table.c", '"cli.h"', None),
    ("agent/store/store.c", '"intake.h"', "agent/store may not include intake.h"),
    ("lib/base/util.c", '"loop.h"', "include each other"),
    ("lib/node/tally.c", "<yajl/yajl_parse.h>", "yajl/yajl_parse.h may be known in"),
])
def test_include(tree, file, header, words):
    path = tree / file
    path.write_text(f"#include {header}\n{path.read_text()}")
    code, text = layers(tree)
    assert (code, words is None) in ((0, True), (1, False)), text
    assert words is None or words in text


def test_new_room(tree):
    (tree / "cli/attic").mkdir()
    (tree / "cli/attic/box.c").write_text("")
    assert layers(tree) == (1, "cli/attic: no row in ROOMS\n")
