"""The recipes of CONTRIBUTING.md, each applied to a copy of the tree and tried as written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
PATCHED = ("libs", "services", "protos")


def recipes() -> dict[str, tuple[str, str]]:
    """Patch and check of each, by its heading."""
    sections = re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    out = {}
    for section in sections:
        parts = dict(re.findall(r"```(diff|python)\n(.*?)```", section, re.DOTALL))
        out[section.partition("\n")[0]] = parts["diff"], parts["python"]
    return out


RECIPES = recipes()

GENERATE = """
import sys
from pathlib import Path
from protoc import contracts, protoc

root, out = Path("protos"), Path(sys.argv[1])
names = contracts(root)
protoc(root, names, f"--python_out={out}")
protoc(root, [name for name in names if name.endswith("_service.proto")], f"--grpc_python_out={out}")
for folder in {out / "adsml", *(path.parent for path in (out / "adsml").rglob("*.py"))}:
    for one in (folder, folder.parent):
        if one != out:
            (one / "__init__.py").touch()
"""
"""What `make setup` does to the contracts, without the stubs for type checkers."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works_as_written(name: str, tmp_path: Path) -> None:
    patch, check = RECIPES[name]
    tree = tmp_path / "tree"
    skipped = shutil.ignore_patterns("gen", "__pycache__", "*.egg-info")
    for folder in PATCHED:
        shutil.copytree(ROOT / folder, tree / folder, ignore=skipped)

    def run(*command: str | Path, text: str | None = None, **env: str) -> None:
        ran = subprocess.run(
            command, cwd=tree, env={**os.environ, **env}, input=text, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"

    run("git", "init", "--quiet")  # else an outer repository's ignored folders count
    run("git", "apply", "--whitespace=nowarn", "-C1", "-", text=patch)
    generated = tree / "generated"
    generated.mkdir()
    if "a/protos/" in patch:
        run(sys.executable, "-c", GENERATE, generated, PYTHONPATH=str(tree / "protos"))
    sources = [generated, *tree.glob("libs/*/src"), *tree.glob("services/*/src")]
    env = {
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "ADSML_DATABASE_URL": f"sqlite:///{tree / 'adsml.db'}",
        "ADSML_ARTIFACT_URL": str(tree / "artifacts"),
        "ADSML_CACHE_DIR": str(tree / "cache"),
    }
    run(sys.executable, "-m", "adsml_common.cli", "migrate", **env)
    run(sys.executable, "-", text=check, **env)  # fmt: skip
