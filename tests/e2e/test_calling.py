"""The examples of docs/calling.md, run as their readers would."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from adsml_common.cli.gateway import gateway_config
from adsml_common.database import Database
from support.browser import browser, find_browser
from support.families import build, settings_of
from support.serving import eventually, free_port

ROOT = Path(__file__).parents[2]
CALLING = ROOT / "examples" / "calling"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A classifier on an empty store: the examples send their days along."""
    folder = tmp_path_factory.mktemp("calling")
    url = f"sqlite:///{folder / 'adsml.db'}"
    database = Database.open(url)
    database.migrate()
    database.close()
    with build("classifier", settings_of("classifier", database_url=url, folder=folder)).start() as server:
        yield server.target


def run(*command: str, cwd: Path = ROOT, **env: str) -> str:
    ran = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_python(target: str) -> None:
    output = run(sys.executable, str(CALLING / "classify.py"), target)
    assert output == "mine: high_performer, CPL 5.00\nanswered by last_week_tier\n"


def with_contracts(example: Path, folder: Path) -> None:
    """A copy of an example, with the contracts beside it as its reader would put them there."""
    shutil.copytree(example, folder, dirs_exist_ok=True)
    run(sys.executable, "bundle.py", str(folder), cwd=ROOT / "protos")
    with zipfile.ZipFile(folder / "adsml-contracts.zip") as archive:
        archive.extract("contracts.binpb", folder)


def npm_install(folder: Path) -> str:
    """Install a package's dependencies; the path of npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node or npm is not installed here")
    installed = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--silent"],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"npm could not install the example's packages: {installed.stderr[-300:]}")
    return npm


def test_node(target: str, tmp_path: Path) -> None:
    with_contracts(CALLING, tmp_path)
    npm_install(tmp_path)
    output = run("node", "classify.mjs", target, cwd=tmp_path)
    assert output == "mine: TIER_HIGH_PERFORMER, CPL 5.00\nanswered by last_week_tier\n"


def test_shell(target: str) -> None:
    output = run("sh", str(CALLING / "classify.sh"), target, BUF=str(Path(sys.executable).parent / "buf"))
    assert '"tier": "TIER_' in output
    assert '"cpl": 5' in output


def test_go(target: str, tmp_path: Path) -> None:
    """With modules where they are to be had, else with the packages that Debian has as sources."""
    go, packages = shutil.which("go"), Path("/usr/share/gocode")
    if go is None or not (packages / "src" / "google.golang.org" / "grpc").exists():
        pytest.skip("go or its grpc is not installed here (apt install golang-go golang-google-grpc-dev)")
    with_contracts(CALLING / "go", tmp_path)
    settings = {"GO111MODULE": "off", "GOPATH": str(packages), "GOCACHE": str(tmp_path / "cache")}
    output = run(go, "run", "classify.go", target, cwd=tmp_path, **settings)
    assert output == "mine: TIER_HIGH_PERFORMER, CPL 5.00\nanswered by last_week_tier\n"


def test_a_page_in_a_browser_asks_through_the_gateway(target: str, tmp_path: Path) -> None:
    """TypeScript with the contract's types, gRPC-Web, another origin; a refusal arrives with its reason."""
    chromium = find_browser()
    if chromium is None:
        pytest.skip("no browser: install chromium (apt install chromium) or name one in ADSML_BROWSER")
    site = tmp_path / "site"
    with_contracts(ROOT / "examples" / "browser", site)
    npm = npm_install(site)
    for script in ("generate", "check", "build"):
        run(npm, "run", script, cwd=site)
    handler = partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages, ExitStack() as stack:
        Thread(target=pages.serve_forever, daemon=True).start()
        stack.callback(pages.shutdown)
        origin, port = f"http://127.0.0.1:{pages.server_port}", free_port()
        backends = [f"{family}={target}" for family in ("classifier", "forecasting", "anomaly", "impact")]
        gateway_config(output=tmp_path / "gateway", backend=backends, port=port, origin=[origin])
        envoy = Path(sys.executable).with_name("envoy")
        command = [
            envoy,
            "-c",
            tmp_path / "gateway" / "envoy.json",
            "--concurrency",
            "1",
            "--use-dynamic-base-id",
        ]
        running = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        stack.callback(running.terminate)
        page = stack.enter_context(browser(chromium))

        def shown(allowed: str) -> list[str]:
            page.send("Page.navigate", url=f"{allowed}/index.html?gateway=http://127.0.0.1:{port}")
            text = "document.getElementById('{}')?.textContent ?? 'asking'"
            eventually(lambda: "asking" not in page.run(text.format("refusal")), within=60)
            return [page.run(text.format(name)) for name in ("answer", "refusal")]

        eventually(lambda: shown(origin)[0].startswith("mine: "), within=60)
        answer, refusal = shown(origin)
        assert answer == (
            "mine: HIGH_PERFORMER, CPL 5.00, by last_week_tier: CPL 5.00 against 15.00 for the account"
        )
        assert refusal.startswith("not classified: InvalidArgument")
        assert "entity_type" in refusal
        # The same page from an origin that the gateway does not know is told nothing.
        assert shown(origin.replace("127.0.0.1", "localhost"))[0].startswith("not classified: Unknown")


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, *_: object) -> None:
        pass
