"""Compares an answer with what `expect` says, in which {…} is the proof's.

    right     the verdict, the sentence and every fact are as expected
    wrong     something else was said
    unknown   podspan said that it does not know, and what is missing
    error     no answer: podspan failed, or has nothing about the container
"""

import dataclasses
import json
import re
import time

# How long podspand may take to have the last spans of a death; the answer itself is not waited for.
SETTLE_SECONDS = 20
QUESTIONS = {"why --end": ("why", "--end"), "why --now": ("why", "--now"), "why": ("why",), "exits": ("exits",)}


@dataclasses.dataclass
class Judgement:
    """How an answer was judged."""

    result: str
    reasons: list
    answer: object = None
    seconds: float = 0.0


def plain(key):
    """One spelling of a name, whatever its separators: podspan.kill.pid, kill_pid."""
    return re.sub(r"[^a-z0-9]+", "_", key.lower()).removeprefix("podspan_")


def flat(value, prefix=""):
    """{plain name: value} of nested objects; lists by their members' numbers."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = ((str(number), item) for number, item in enumerate(value))
    else:
        return {prefix: value}
    result = {}
    for key, item in items:
        result.update(flat(item, f"{prefix}_{plain(key)}" if prefix else plain(key)))
    return result


def fill(wanted, proof, escape=False):
    """Puts the proof into the placeholders; escape: for a regular expression."""
    if not isinstance(wanted, str):
        return wanted
    def value(match):
        text = str(proof[match[1]])
        return re.escape(text) if escape else text
    return re.sub(r"\{([a-z_]+)\}", value, wanted)


def _same(found, wanted, proof):
    """A string that begins with ~ is a regular expression."""
    if isinstance(wanted, str) and wanted.startswith("~"):
        return re.search(fill(wanted[1:], proof, escape=True), str(found)) is not None
    if isinstance(wanted, bool):
        return found is wanted
    return str(found) == str(fill(wanted, proof))


def differences(what, found, wanted, proof):
    """What is missing or different among the facts of an object."""
    have, result = flat(found), []
    for key, value in flat(wanted).items():
        if key not in have:
            result.append(f"no {what} {key} (expected {fill(value, proof)})")
        elif not _same(have[key], value, proof):
            result.append(f"{what} {key} is {have[key]}, not {fill(value, proof)}")
    return result


def _chain(answer):
    return answer.get("chain") or []


def compare(answer, expect, proof):
    """(result, reasons) of an answer's JSON."""
    if answer.get("schema") != 1:
        return "error", [f"schema is {answer.get('schema')}"]
    reasons = []
    wanted = expect.get("verdict")
    if wanted and answer.get("verdict") != wanted:
        if answer.get("verdict") == "unknown":
            return "unknown", [f"expected {wanted}; missing: {'; '.join(map(str, answer.get('unknown') or ['not said']))}"]
        return "wrong", [f"{answer.get('verdict')}, not {wanted}: {answer.get('sentence')}"]
    sentence = expect.get("sentence")
    if sentence and not re.search(fill(sentence, proof, escape=True), answer.get("sentence") or ""):
        reasons.append(f"the sentence is: {answer.get('sentence')}\n  expected: {fill(sentence, proof)}")
    reasons += differences("fact", answer.get("facts") or {}, expect.get("facts", {}), proof)
    chain = _chain(answer)
    if "leaf" in expect:
        if not chain:
            return "unknown", [f"no chain; missing: {'; '.join(map(str, answer.get('unknown') or ['not said']))}"]
        leaf = chain[-1]
        other = differences("leaf", leaf, expect["leaf"], proof)
        if other and (leaf.get("wait") or {}).get("kind") == "unknown":
            return "unknown", [f"the leaf's wait is unknown: {json.dumps(leaf)}"]
        reasons += other
    for link in expect.get("chain", []):
        if not any(not differences("", process, link, proof) for process in chain):
            reasons.append(f"nobody in the chain is {flat(link)}: {json.dumps(chain)}")
    evidence = json.dumps(answer.get("evidence"), ensure_ascii=False)
    for pattern in expect.get("evidence", []):
        if not re.search(fill(pattern, proof, escape=True), evidence):
            reasons.append(f"not in the evidence: {fill(pattern, proof)}")
    return ("wrong", reasons) if reasons else ("right", [])


def _lines(text):
    """The JSON documents of a text, one a line; a document may have more than one line, too."""
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return []


def exits_of(world, by):
    """What `exits` says, newest first: the answer is the last exit, the OOM kills are its evidence."""
    done = world.ask("exits", *by, "--json")
    lines = _lines(done.stdout)
    exits = [line for line in lines if line.get("event") == "exit"]
    if not exits:
        return done, None
    return done, {**exits[0], "unknown": exits[0].get("missing"), "evidence": [line for line in lines if line not in exits]}


def _ask_exits(world, expect, proof):
    """The same for an incident."""
    if expect.get("ask") == "{pod}" or not proof.get("container"):
        return exits_of(world, ["--pod", proof["pod"]])
    return exits_of(world, ["--container", proof["container"]])


def _ask(world, expect, proof, question):
    if question == "exits":
        return _ask_exits(world, expect, proof)
    command = QUESTIONS[question]
    done = world.ask(command[0], fill(expect.get("ask", "{container}"), proof), *command[1:], "--json")
    return done, (_lines(done.stdout) or [None])[0]


def _agrees(world, expect, proof, answer):
    """`exits` and `why --end` are to have one verdict for one death; reasons if they have not."""
    _, line = _ask_exits(world, expect, proof)
    if line is None:
        return ["`exits` does not list it"]
    return [] if line.get("verdict") == answer["verdict"] else [
        f"`exits` says {line.get('verdict')}, `why` says {answer['verdict']}"]


def _settle(world):
    """Waits until podspand has taken in what lay in its spool for a second: a stop is known by the span of its call."""
    quiet, end = 0, time.monotonic() + SETTLE_SECONDS
    while quiet < 5 and time.monotonic() < end:
        quiet = 0 if any(world.podspan.state.glob("spool/*.otlp")) else quiet + 1
        time.sleep(0.2)


def judge(world, incident, proof, question=None):
    """Asks the question of an incident (or another one), and judges the answer."""
    expect = incident.expect
    question = question or expect["question"]
    now = "now" in question
    if not now:
        _settle(world)
    deadline = time.monotonic() + (0 if now else SETTLE_SECONDS)
    while True:
        begin = time.monotonic()
        done, answer = _ask(world, expect, proof, question)
        seconds = time.monotonic() - begin
        if answer is None:
            said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
            result, reasons = "error", [f"{' '.join(map(str, done.args[1:5]))}: exit code {done.returncode}: {said[0]}"]
        else:
            result, reasons = compare(answer, expect, proof)
        # The spans of the end may be on their way: then there is nothing yet, or not enough. A wrong answer is one.
        if result in ("right", "wrong") or time.monotonic() >= deadline:
            break
        time.sleep(0.3)
    limit = expect.get("within", 2)
    if now and result == "right" and seconds > limit:
        result, reasons = "wrong", [f"the answer took {seconds:.1f} s, not {limit} s"]
    if result == "right" and question == "why --end":
        reasons = _agrees(world, expect, proof, answer)
        result = "wrong" if reasons else "right"
    return Judgement(result, reasons, answer, seconds)
