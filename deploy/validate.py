"""`make k8s-validate`: builds every overlay, checks schemas, policies, the Dockerfile and alerts.

Tools come by name: kubectl, kubernetes-validate and hadolint from the lock, checkov from PyPI into a folder of
its own (its pins fit nobody else's), promtool from Debian's package ``prometheus``, unpacked and not installed.
One that can't be had is a failure, never a skipped check.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
KUBERNETES = ROOT / "deploy" / "k8s"
TOOLS = ROOT / ".tools"
VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")
"""From the oldest supported to the newest there is a schema of."""
CHECKOV = "checkov==3.3.30"
FOREIGN = {"PodMonitor", "PrometheusRule", "LocalQueue", "Certificate", "ExternalSecret"}
"""Kinds that operators bring, for which Kubernetes has no schema."""

NOT_FOLLOWED = {
    "CKV_K8S_11": "CPU limits: idle processors are for whoever has work; requests share out what is contended",
    "CKV_K8S_35": "secrets as files: the database's URL is a setting, and settings are the environment; "
    "certificates and keys are files",
}
"""Policies of checkov that are not followed, and why. Everything else must pass."""
NOT_FOLLOWED_ON_ONE_MACHINE = {
    "CKV_K8S_43": "images by digest: they were built on the machine a moment ago, and no registry has them",
    "CKV_K8S_15": "always pull: likewise",
}


class Failed(Exception):
    """A check failed, or could not be made."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a tool; what it printed, or `Failed` with everything it said."""
    environment = {**os.environ, "LOG_LEVEL": "ERROR"}
    done = subprocess.run(  # noqa: S603 - our own commands
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def locked(name: str) -> Path:
    """A tool of the virtual environment."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise Failed(f"{name} is missing: run `make setup`")
    return path


def checkov() -> Path:
    """Set up once, in a folder of its own."""
    home = TOOLS / "checkov"
    if not (home / "done").exists():
        say("setting up checkov (once)")
        shutil.rmtree(home, ignore_errors=True)
        run(TOOLS / "bin" / "uv", "venv", "--quiet", "--python", sys.executable, home)
        run(TOOLS / "bin" / "uv", "pip", "install", "--quiet", "--python", home / "bin" / "python", CHECKOV)
        (home / "done").touch()
    return home / "bin" / "checkov"


def promtool() -> Path:
    """That of the machine, or else Debian's, unpacked beside our other tools."""
    found = shutil.which("promtool")
    if found:
        return Path(found)
    home = TOOLS / "prometheus"
    tool = home / "usr" / "bin" / "promtool"
    if not tool.exists():
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise Failed("promtool is missing: install Prometheus' tools, so that it is on the PATH")
        say("setting up promtool (once)")
        shutil.rmtree(home, ignore_errors=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                run("apt-get", "download", "prometheus", cwd=Path(folder))
            except Failed:
                # Before its first update a machine may know of no packages at all.
                run("apt-get", "update")
                run("apt-get", "download", "prometheus", cwd=Path(folder))
            (package,) = Path(folder).glob("*.deb")
            run("dpkg-deb", "-x", package, home)
    return tool


EVERYTHING = "production with every component"


def builds(folder: Path) -> dict[str, Path]:
    """Every overlay and folder that can be deployed alone, built, by name."""
    folders = ["overlays/local", "overlays/production", "base", *sorted(
        f"base/{one.parent.name}" for one in KUBERNETES.glob("base/*/kustomization.yaml")
        if "kind: Component" not in one.read_text()
    )]  # fmt: skip
    built = {name: folder / f"{name.replace('/', '-')}.yaml" for name in folders}
    for name, path in built.items():
        path.write_text(run(locked("kubectl"), "kustomize", KUBERNETES / name))
    copy = folder / "k8s"
    shutil.copytree(KUBERNETES, copy)
    kustomization = copy / "overlays" / "production" / "kustomization.yaml"
    overlay = yaml.safe_load(kustomization.read_text())
    names = sorted(
        (one.name for one in (copy / "components").iterdir()), key=lambda name: (name == "kueue", name)
    )
    overlay["components"] = [f"../../components/{name}" for name in names]
    kustomization.write_text(yaml.safe_dump(overlay))
    built[EVERYTHING] = folder / "everything.yaml"
    built[EVERYTHING].write_text(run(locked("kubectl"), "kustomize", kustomization.parent))
    return built


def check_policies(path: Path, but: Mapping[str, str]) -> None:
    """Every policy of checkov, but for those."""
    run(
        checkov(), "--framework", "kubernetes", "--compact", "--quiet", "--skip-check", ",".join(but), "-f", path
    )  # fmt: skip


def check_schemas(files: Sequence[Path]) -> None:
    """Strictly: an unknown field is an error."""
    for path in files:
        ours = [one for one in yaml.safe_load_all(path.read_text()) if one and one["kind"] not in FOREIGN]
        path.write_text(yaml.safe_dump_all(ours))
    for version in VERSIONS:
        run(locked("kubernetes-validate"), "-k", version, "--strict", "--quiet", *files)


def check_alerts(folder: Path) -> None:
    """Syntax, and what they do on series with known truth."""
    monitoring = KUBERNETES / "components" / "monitoring"
    rules = yaml.safe_load((monitoring / "rules.yaml").read_text())["spec"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    shutil.copy(monitoring / "rules_test.yaml", folder)
    run(promtool(), "check", "rules", "rules.yaml", cwd=folder)
    run(promtool(), "test", "rules", "rules_test.yaml", cwd=folder)


def say(word: str) -> None:
    """A line that is seen at once."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> int:
    """Every check; 1 if one failed."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            built = builds(folder)
            say(f"built {', '.join(built)}")
            # Before the schemas' check takes out what it has no schema for.
            check_policies(built["overlays/local"], {**NOT_FOLLOWED, **NOT_FOLLOWED_ON_ONE_MACHINE})
            check_policies(built[EVERYTHING], NOT_FOLLOWED)
            say("policies hold")
            # Which hold every folder between them.
            check_schemas([built["overlays/local"], built[EVERYTHING]])
            say(f"valid for Kubernetes {', '.join(VERSIONS)}")
            run(locked("hadolint"), ROOT / "deploy" / "Dockerfile")
            say("the Dockerfile is clean")
            check_alerts(folder)
            say("alerts do what their tests say")
    except Failed as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    say(f"all in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
