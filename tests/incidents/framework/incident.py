"""One staged incident: the folder tests/incidents/NAME with `stage` and `expect`."""

import importlib.machinery
import importlib.util
import tomllib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
_KEYS = {"about", "worlds", "question", "ask", "verdict", "sentence", "facts", "leaf", "chain", "evidence", "alone",
         "part", "unknown", "within"}


class Incident:
    """What `expect` says, and the function of `stage`."""

    def __init__(self, name):
        self.name = name
        folder = FOLDER / name
        with open(folder / "expect", "rb") as file:
            expect = tomllib.load(file)
        unknown = expect.keys() - _KEYS
        if unknown or "about" not in expect or not expect.get("worlds"):
            raise ValueError(f"{folder}/expect: `about` and `worlds` are needed, {sorted(unknown)} is not known")
        self.about, self.worlds = expect["about"], expect["worlds"]
        self.part = expect.get("part", "hang" if expect.get("question", "").endswith("--now") else "death")
        self.alone = expect.get("alone", False)
        self.expect = expect
        self._stage = folder / "stage"

    def stage(self, world):
        """Does it; returns the proof."""
        loader = importlib.machinery.SourceFileLoader(f"stage_{self.name.replace('-', '_')}", str(self._stage))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(module)
        return module.stage(world)


def every():
    """All incidents, by name."""
    return [Incident(path.parent.name) for path in sorted(FOLDER.glob("*/stage"))]
