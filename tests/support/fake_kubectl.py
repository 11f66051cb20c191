"""Stands in for `kubectl`: answers of a cluster that a folder describes, and a note of what it was told.

The folder, ``$FAKE_KUBECTL``, holds ``cluster.json``: ``version``, ``kinds``, and ``objects`` by resource and name; a
list in place of an object is what it is at one look after the other.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("FAKE_KUBECTL", "."))
RESOURCES = {
    "secret": "secrets", "configmap": "configmaps", "job": "jobs", "nodes": "nodes", "configmaps": "configmaps",
}  # fmt: skip


def main(words: list[str]) -> int:
    cluster = json.loads((FOLDER / "cluster.json").read_text())
    with (FOLDER / "told").open("a") as told:
        told.write(" ".join(words) + "\n")
    match words:
        case ["version", *_]:
            print(json.dumps({"serverVersion": cluster["version"]}))
        case ["api-resources", *_]:
            print("\n".join(f"{kind.lower()}s   v1   true   {kind}" for kind in cluster["kinds"]))
        case ["get", resource, *rest] if rest and not rest[0].startswith("-"):
            return one(cluster, RESOURCES[resource], rest[0])
        case ["get", resources, *_]:
            names = [RESOURCES.get(name, name) for name in resources.split(",")]
            items = [thing for name in names for thing in cluster["objects"].get(name, {}).values()]
            print(json.dumps({"items": items}))
        case ["apply", *_]:
            (FOLDER / "applied").write_text(sys.stdin.read())
        case ["logs", *_]:
            print("error: the database does not answer")
        case ["delete", "configmap", "-n", _, *names]:
            print("\n".join(f"configmap {name} deleted" for name in names))
    return 0


def one(cluster: dict[str, Any], resource: str, name: str) -> int:
    thing = cluster["objects"].get(resource, {}).get(name)
    if thing is None:
        sys.stderr.write(f'Error from server (NotFound): {resource} "{name}" not found\n')
        return 1
    if isinstance(thing, list):
        at = FOLDER / f"looks-{name}"
        looks = len(at.read_text()) if at.exists() else 0
        at.write_text("x" * (looks + 1))
        thing = thing[min(looks, len(thing) - 1)]
    print(json.dumps(thing))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
