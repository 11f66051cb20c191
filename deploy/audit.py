"""Known flaws of what uv.lock installs, by a copy of PyPA's advisory database: no network is asked.

    git clone --depth 1 https://github.com/pypa/advisory-database    # where there is a line
    python deploy/audit.py advisory-database                         # anywhere; exit status 1 where something is found

With a line pip-audit asks for today's, as the release workflow does (.github/workflows/release.yaml).
The database is a folder of OSV files (https://ossf.github.io/osv-schema), ``vulns/PACKAGE/ID.yaml``.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LOCK = Path(__file__).parents[1] / "uv.lock"
_MODIFIED = re.compile(r"^modified: ['\"]?([0-9-]{10})", re.MULTILINE)


def locked(lock: Path) -> dict[str, str]:
    """Versions of what comes from an index, by name."""
    packages = tomllib.loads(lock.read_text())["package"]
    return {one["name"]: one["version"] for one in packages if "registry" in one["source"]}


def hit(affected: dict[str, Any], version: str) -> bool:
    """Whether one entry of an advisory is about a version: named, or from an ``introduced`` on and before a fix."""
    if version in affected.get("versions", ()):
        return True
    for span in affected.get("ranges", ()):
        if span["type"] != "ECOSYSTEM":
            continue
        inside = False
        for event in span["events"]:
            kind, bound = next(iter(event.items()))
            try:
                reached = bound == "0" or Version(version) >= Version(bound)
                beyond = bound != "0" and Version(version) > Version(bound)
            except InvalidVersion:
                continue
            if kind == "introduced":
                inside = inside or reached
            elif (kind == "fixed" and reached) or (kind == "last_affected" and beyond):
                inside = False
        if inside:
            return True
    return False


def flaws(folder: Path, versions: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Package with its version, advisory, and what it says, of all that hit."""
    for name, version in sorted(versions.items()):
        for file in sorted((folder / "vulns" / canonicalize_name(name)).glob("*.yaml")):
            found = yaml.safe_load(file.read_text())
            of_package = (
                one for one in found.get("affected", ()) if canonicalize_name(one["package"]["name"]) == name
            )
            if "withdrawn" not in found and any(hit(one, version) for one in of_package):
                yield f"{name} {version}", found["id"], " ".join(str(found.get("details", "")).split())[:120]


def main() -> int:
    """Print what hits, and how much was looked at."""
    folder = Path(sys.argv[1])
    if not (folder / "vulns").is_dir():
        print(f"{folder} is no copy of the advisory database: it has no folder vulns", file=sys.stderr)
        return 2
    versions = locked(Path(sys.argv[2]) if len(sys.argv) > 2 else LOCK)
    found = list(flaws(folder, versions))
    for package, name, details in found:
        print(f"{package}: {name}: {details}")
    dates = (_MODIFIED.search(file.read_text()) for file in (folder / "vulns").glob("*/*.yaml"))
    newest = max((found_date[1] for found_date in dates if found_date), default="nowhen")
    print(f"{len(found)} known flaws in {len(versions)} packages, by a database of {newest}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
