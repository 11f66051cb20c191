"""Every attack and fault that the threat model names, with its guard taken out: its test must fail.

    python benchmarks/bench_guards.py [--only WORD] [--part 2/5] [--left]

A test that passes with and without what it is about says nothing. Each guard in `guards.py` is a few lines of the
tree and what stands there without it. The tree is copied; the tests pass there; then one guard after the other is
taken out, its test is run and must fail, in the words that are given. No process may take more than 8 GiB. Prints a
table, writes benchmarks/results/guards.json; exit status 1 where a test does not fail for that reason, fails with its
guard, is left out, or a guard is no longer where it was.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guards import GUARDS, Guard

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "guards.json"
MEMORY = 8 << 30
SECONDS = 150


def main() -> int:
    """Take each guard out, run its test, show what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="guards whose attack or test holds this word")
    parser.add_argument("--part", default="1/1", help="2/5: the second fifth of them")
    parser.add_argument("--left", action="store_true", help="those whose test was not seen to fail yet")
    options = parser.parse_args()
    seen = {attack for attack, one in results().items() if one["fails"]} if options.left else set()
    chosen = [one for one in GUARDS if options.only in f"{one.attack} {one.test}" and one.attack not in seen]
    part, parts = map(int, options.part.split("/"))
    chosen = chosen[len(chosen) * (part - 1) // parts : len(chosen) * part // parts]
    shown = 0
    with tempfile.TemporaryDirectory(prefix="adsml-guards-") as folder:
        tree = copied(Path(folder) / "tree")
        begin = run(tree, list(dict.fromkeys(one.test for one in chosen)), seconds=SECONDS * len(chosen))
        faults = [f"with every guard: {name}: {end}" for name, end in begin.items() if end != "passed"]
        print("| attack | guard | test | fails without it |\n|---|---|---|---|")
        for one in chosen:
            end, right = without(tree, one)
            faults += [] if right else [f"{one.attack}: {end}"]
            guard, test = (name.rpartition("/")[2] for name in (one.file, one.test.partition("[")[0]))
            print(
                f"| {one.attack} | `{guard}` | `{test}` | {'yes' if right else 'NO'}: {end[:90]} |",
                flush=True,
            )
            shown = keep(one, end, right)
    print(f"\n{shown} of {len(GUARDS)} tests have been seen to fail without their guard")
    for fault in faults:
        print("FAULT", fault)
    return 1 if faults else 0


def results() -> dict[str, dict[str, Any]]:
    """What was found so far, by attack."""
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())["guards"] if RESULTS.exists() else {}
    return found


def keep(guard: Guard, end: str, right: bool) -> int:
    """Add one to the results, beside those of other runs; how many fail as they should by now."""
    known = results()
    known[guard.attack] = {"guard": guard.file, "test": guard.test, "without it": end, "fails": right}
    now = {one.attack: known[one.attack] for one in GUARDS if one.attack in known}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    written = {"date": datetime.now(UTC).date().isoformat(), "commit": commit, "guards": now}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(written, indent=1) + "\n")
    return sum(one["fails"] for one in now.values())


def copied(tree: Path) -> Path:
    """The tree as it stands, committed or not, without what git ignores; the tools beside it are the same."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)
    for name in (".tools", ".venv"):
        (tree / name).symlink_to(ROOT / name)
    for package in ("adsml", "buf"):
        [installed] = __import__(package).__path__
        shutil.copytree(installed, tree / "contracts" / package)
    return tree


def without(tree: Path, guard: Guard) -> tuple[str, bool]:
    """How a guard's test ends with the guard taken out, and whether that is the failure that it should be."""
    before: dict[Path, str] = {}
    contracts = {file: file.read_bytes() for file in (tree / "contracts").rglob("*_pb2.py")}
    try:
        for *other, old, new in guard.out:
            path = tree / (other[0] if other else guard.file)
            text = path.read_text()
            before.setdefault(path, text)
            if text.count(old) != 1:
                return (
                    f"the guard is no longer there: {old.strip()[:60]!r} stands {text.count(old)} times",
                    False,
                )
            path.write_text(text.replace(old, new))
            if path.suffix == ".proto":
                generate(tree, path)
        ends = run(tree, [guard.test], seconds=SECONDS)
    finally:
        for path, text in before.items():
            path.write_text(text)
        for file, data in contracts.items():
            if file.read_bytes() != data:
                file.write_bytes(data)
    failed = [end for end in ends.values() if end not in ("passed", "skipped")]
    # Where a test has several cases, one is enough.
    right = next((end for end in failed if re.search(guard.fails, end)), None)
    told = right or next(iter(failed), "") or ", ".join(set(ends.values()))
    return " ".join(told.split())[:200].replace("|", "/"), right is not None


def generate(tree: Path, proto: Path) -> None:
    """One contract's Python, from the text as it stands now."""
    code = "import sys; from pathlib import Path; from protoc import protoc; protoc(Path(), *sys.argv[1:])"
    name = str(proto.relative_to(tree / "protos"))
    code = code.replace("*sys.argv[1:]", "[sys.argv[1]], sys.argv[2]")
    subprocess.run(
        [sys.executable, "-c", code, name, f"--python_out={tree / 'contracts'}"],
        cwd=tree / "protos",
        check=True,
    )


def run(tree: Path, tests: list[str], *, seconds: float) -> dict[str, str]:
    """How tests ended, by name: ``"passed"``, ``"skipped"``, or the lines of their failure."""
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    sources = [tree / "contracts", *sorted(tree.glob("*/*/src"))]
    process = subprocess.Popen(
        [
            sys.executable,
            *["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"],
            f"--junitxml={report}",
            *tests,
        ],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Safe here: no other thread runs in this process that it could leave a lock of.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),  # noqa: PLW1509
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"": "hung"}
    finally:
        # With what it has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode < 0:
        return {"": f"ended by {signal.Signals(-process.returncode).name}"}
    if not report.exists() or process.returncode not in (0, 1):
        return {"": f"pytest could not run it: {printed[-500:]}"}
    return {
        f"{case.get('classname')}::{case.get('name')}": _end(case)
        for case in ET.parse(report).iter("testcase")  # noqa: S314 - pytest has written it
    }


def _end(case: ET.Element) -> str:
    for kind in ("error", "failure", "skipped"):
        if (found := case.find(kind)) is not None:
            lines = [line[1:].strip() for line in (found.text or "").splitlines() if line.startswith("E ")]
            told = " ".join(lines) or found.get("message") or kind
            return {"skipped": "skipped", "failure": told, "error": f"could not begin: {told}"}[kind]
    return "passed"


if __name__ == "__main__":
    raise SystemExit(main())
