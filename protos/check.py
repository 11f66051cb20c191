"""Checks of the contracts by buf: ``python protos/check.py lint|breaking|format``.

lint
    buf's STANDARD and COMMENTS rules (buf.yaml).
breaking
    Whether a caller of the contracts on main would break: a field removed, renumbered, retyped, renamed...
    main is ``origin/main``, else ``main``; where the checked-out commit *is* main and its contracts are
    untouched, the commit before it. ``--against REF`` names another. Where there is nothing to compare with
    (a shallow clone, a main without contracts) it says so and passes.
format
    Shows what ``format --write`` would change, and fails if there is anything.

Nothing is fetched: the google/*.proto that the contracts import come from the installed
googleapis-common-protos, laid beside a copy of the contracts in a temporary workspace. Exit status is
buf's, 2 where the check itself could not be made.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
_IMPORT = re.compile(r'^import "(google/(?!protobuf/)[^"]+)";', re.MULTILINE)
_MODULES = "modules:\n  - path: .\n"
_WORKSPACE = """modules:
  - path: protos
  - path: google-protos
    lint:
      ignore: [google-protos]
    breaking:
      ignore: [google-protos]
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the check that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description="Checks of the contracts by buf.")
    parser.add_argument("--protos", type=Path, default=HERE, help="folder of the contracts (default: here)")
    checks = parser.add_subparsers(dest="check", required=True)
    checks.add_parser("lint", help="style, names and comments")
    breaking_parser = checks.add_parser("breaking", help="would callers of main break?")
    breaking_parser.add_argument("--against", metavar="REF", help="a commit (default: main)")
    format_parser = checks.add_parser("format", help="layout")
    format_parser.add_argument("--write", action="store_true", help="mend it instead of showing it")
    options = parser.parse_args(arguments)
    protos: Path = options.protos.resolve()
    try:
        if options.check == "lint":
            return lint(protos)
        if options.check == "breaking":
            return breaking(protos, against=options.against)
        return check_format(protos, write=options.write)
    except CheckImpossible as error:
        print(f"check.py {options.check}: {error}", file=sys.stderr)
        return 2


class CheckImpossible(Exception):
    """The check could not be made; the message says why and what to do."""


def lint(protos: Path) -> int:
    """Lint the contracts in `protos`; returns buf's exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        workspace = make_workspace(Path(temporary), contracts=protos / "adsml", config=protos / "buf.yaml")
        return _buf("lint", cwd=workspace)


def breaking(protos: Path, *, against: str | None = None) -> int:
    """Compare the contracts in `protos` with those of a commit; returns buf's exit status.

    Parameters
    ----------
    protos
        Folder of the contracts, in a git work tree.
    against
        The commit to compare with; None for main as the module's docstring says.
    """
    reference = against or _main(protos)
    if reference is None:
        print("contracts: no main to compare with (a shallow clone or a first commit): nothing was compared")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        before = Path(temporary) / "archive"
        _extract(protos, reference, before)
        if not any(before.rglob("*.proto")):
            print(f"contracts: {reference} has none to compare with: nothing was compared")
            return 0
        config = protos / "buf.yaml"
        old = make_workspace(Path(temporary) / "old", contracts=before / "adsml", config=config)
        new = make_workspace(Path(temporary) / "new", contracts=protos / "adsml", config=config)
        status = _buf("breaking", "--against", str(old), cwd=new)
    print(f"contracts: {'no break' if status == 0 else 'BREAKS'} against {reference}")
    return status


def check_format(protos: Path, *, write: bool) -> int:
    """Show (or mend) what is not laid out as buf lays it out; returns buf's exit status."""
    mode = ("--write",) if write else ("--diff", "--exit-code")
    return _buf("format", "--path", "adsml", *mode, cwd=protos)


def make_workspace(folder: Path, *, contracts: Path, config: Path) -> Path:
    """Lay out a buf workspace in `folder`: the contracts and the google/*.proto they import.

    Paths in buf's messages then read as in the repository: ``protos/adsml/...``.

    Raises
    ------
    CheckImpossible
        buf.yaml has another shape than this expects, or googleapis-common-protos is not installed.
    """
    settings = config.read_text()
    if _MODULES not in settings:
        raise CheckImpossible(f"{config} no longer says {_MODULES!r}; teach check.py its new shape")
    shutil.copytree(contracts, folder / "protos" / "adsml", ignore=_all_but_protos)
    (folder / "buf.yaml").write_text(settings.replace(_MODULES, _WORKSPACE))
    (folder / "google-protos").mkdir()
    waiting = [text for path in folder.rglob("*.proto") for text in _IMPORT.findall(path.read_text())]
    while waiting:
        name = waiting.pop()
        target = folder / "google-protos" / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_installed(name), target)
            waiting += _IMPORT.findall(target.read_text())
    return folder


def _all_but_protos(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".proto") and not (Path(folder) / name).is_dir()]


def _installed(name: str) -> Path:
    spec = find_spec("google.type.date_pb2")
    path = None if spec is None or spec.origin is None else Path(spec.origin).parents[2] / name
    if path is None or not path.exists():
        raise CheckImpossible(f"{name} is not installed; install googleapis-common-protos")
    return path


def _main(protos: Path) -> str | None:
    # The commit's own main, or its parent when it is main and adds nothing to it.
    for name in ("origin/main", "main"):
        commit = _git(protos, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if commit is None:
            continue
        if commit != _git(protos, "rev-parse", "HEAD"):
            return name
        if _git(protos, "status", "--porcelain", "--", "adsml") != "":
            return name
        return None if _git(protos, "rev-parse", "--verify", "--quiet", "HEAD^") is None else "HEAD^"
    return None


def _extract(protos: Path, reference: str, target: Path) -> None:
    # The tree of the commit at this folder, so that it need not be named as it is here.
    prefix = _git(protos, "rev-parse", "--show-prefix")
    if prefix is None:
        raise CheckImpossible(f"{protos} is not in a git work tree")
    if _git(protos, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}") is None:
        raise CheckImpossible(f"there is no commit {reference!r} here; fetch it, or name another")
    target.mkdir()
    if not _git(protos, "ls-tree", "--full-tree", reference, f"{prefix}adsml"):
        return
    command = [_tool("git"), "-C", str(protos), "archive", "--format=tar", reference, "adsml"]
    archive = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(target, filter="data")


def _git(folder: Path, *arguments: str) -> str | None:
    done = subprocess.run(  # noqa: S603
        [_tool("git"), "-C", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _buf(*arguments: str, cwd: Path) -> int:
    return subprocess.run([_tool("buf"), *arguments], cwd=cwd, check=False).returncode  # noqa: S603


def _tool(name: str) -> str:
    # Beside this interpreter first: the locked version.
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise CheckImpossible(f"{name} was not found; run `make setup`")
    return found


if __name__ == "__main__":
    sys.exit(main())
