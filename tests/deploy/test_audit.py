"""The offline look for known flaws, on a database of three advisories."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "audit.py"
ADVISORY = """\
id: {id}
details: Its parser can be made to
  loop.
affected:
- package: {{name: {package}, ecosystem: PyPI}}
  ranges:
  - type: ECOSYSTEM
    events:
{events}
  versions: [{versions}]
modified: "2026-11-0{day}T00:00:00Z"
"""


def audit(folder: Path, version: str, *advisories: tuple[str, str]) -> tuple[int, str]:
    (folder / "vulns" / "a-parser").mkdir(parents=True, exist_ok=True)
    for day, (events, versions) in enumerate(advisories, start=1):
        lines = "\n".join(f"    - {one}" for one in events.split(", "))
        text = ADVISORY.format(
            id=f"PYSEC-{day}", package="A_Parser", events=lines, versions=versions, day=day
        )
        (folder / "vulns" / "a-parser" / f"PYSEC-{day}.yaml").write_text(text)
    lock = folder / "uv.lock"
    lock.write_text(
        f'[[package]]\nname = "a-parser"\nversion = "{version}"\nsource = {{ registry = "https://pypi.org/simple" }}\n'
        '[[package]]\nname = "adsml"\nversion = "0.1.0"\nsource = { virtual = "." }\n'
    )
    done = subprocess.run([sys.executable, SCRIPT, folder, lock], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("version", "hits"),
    [
        ("1.9", True),
        ("2.0", False),
        ("2.9", False),
        ("3.0", True),
        ("3.1", True),
        ("3.2", False),
        ("0.5.post1", True),
    ],
)
def test_a_version_between_introduction_and_cure_is_found(tmp_path: Path, version: str, hits: bool) -> None:
    spans = "introduced: '0', fixed: '2.0', introduced: '3.0', last_affected: '3.1'"
    status, said = audit(tmp_path, version, (spans, ""))
    assert status == int(hits)
    assert (f"a-parser {version}: PYSEC-1: Its parser can be made to loop." in said) is hits
    assert f"{int(hits)} known flaws in 1 packages, by a database of 2026-11-01" in said


def test_a_version_that_is_named_is_found_whatever_the_ranges_say(tmp_path: Path) -> None:
    assert audit(tmp_path, "5.0", ("introduced: '9.0'", "'5.0'"))[0] == 1


def test_a_folder_that_is_no_database_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no copy of the advisory database" in done.stderr
