"""The distribution builds from nothing but its sources, and a type checker knows what it ships."""

import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = shutil.which("uv") or shutil.which("uv", path=ROOT / ".tools" / "bin")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


PROBE = """
syntax = "proto3";

package adsml.probe.v1;

import "buf/validate/validate.proto";
import "google/api/annotations.proto";

service ProbeService {
  rpc Probe(ProbeRequest) returns (ProbeResponse) {
    option (google.api.http) = {get: "/v1/probe"};
  }
}

message ProbeRequest {
  int32 days = 1 [(buf.validate.field).int32 = {gte: 1, lte: 90}];
}

message ProbeResponse {}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git would hand to a newcomer, without anything generated."""
    source = tmp_path_factory.mktemp("clean") / "protos"
    shutil.copy(ROOT / "VERSION", source.parent)
    shutil.copytree(ROOT / "protos", source, ignore=shutil.ignore_patterns("gen", "__pycache__", "dist"))
    probe = source / "adsml" / "probe" / "v1" / "probe_service.proto"
    probe.parent.mkdir(parents=True)
    probe.write_text(PROBE)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """A wheel built from the sdist built from a clean copy, as an index would make it."""
    assert UV is not None, "uv is needed to build; run `make setup`"
    built = run(UV, "build", "--python", sys.executable, "--out-dir", "dist", cwd=source)
    assert built.returncode == 0, built.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def test_wheel_holds_contracts_code_and_types(wheel: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    contracts = [path.relative_to(source).as_posix() for path in (source / "adsml").rglob("*.proto")]
    assert names >= set(contracts)
    for contract in contracts:
        stem = contract.removesuffix(".proto")
        assert {f"{stem}_pb2.py", f"{stem}_pb2.pyi"} <= names
        grpc_files = {f"{stem}_pb2_grpc.py", f"{stem}_pb2_grpc.pyi"}
        assert grpc_files <= names if stem.endswith("_service") else not grpc_files & names
    assert "adsml/py.typed" in names


def test_nothing_is_left_in_the_sources(wheel: Path, source: Path) -> None:
    left = {path.name for path in source.iterdir()} - {path.name for path in (ROOT / "protos").iterdir()}
    assert left == {"dist"}


def test_wheel_alone_answers_a_call(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = """
        from concurrent import futures
        import grpc
        import adsml
        from adsml.classifier.v1 import classifier_service_pb2 as pb, classifier_service_pb2_grpc as rpc

        class Servicer(rpc.ClassifierServiceServicer):
            def BatchClassify(self, request, context):
                return pb.BatchClassifyResponse(results=[{"entity": s.entity} for s in request.subjects])

        server = grpc.server(futures.ThreadPoolExecutor(1))
        rpc.add_ClassifierServiceServicer_to_server(Servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        stub = rpc.ClassifierServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
        request = pb.BatchClassifyRequest(subjects=[{"entity": {"config_id": 1, "entity_id": "7"}}])
        answer = stub.BatchClassify(request, timeout=30)
        print(adsml.__file__, answer.results[0].entity.entity_id)
        server.stop(0)
    """
    ran = run(sys.executable, "-c", textwrap.dedent(program), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [str(tmp_path / "adsml" / "__init__.py"), "7"]


def test_rules_and_routes_of_a_contract_reach_the_code(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = """
        import protovalidate
        from adsml.probe.v1 import probe_service_pb2 as pb
        from buf.validate import validate_pb2
        from google.api import annotations_pb2

        (violation,) = protovalidate.collect_violations(pb.ProbeRequest(days=91))
        rules = pb.ProbeRequest.DESCRIPTOR.fields_by_name["days"].GetOptions().Extensions[validate_pb2.field]
        (method,) = pb.DESCRIPTOR.services_by_name["ProbeService"].methods
        route = method.GetOptions().Extensions[annotations_pb2.http].get
        print(violation.proto.rule_id, rules.int32.lte, route, len(protovalidate.collect_violations(pb.ProbeRequest(days=90))))
    """
    ran = run(sys.executable, "-c", textwrap.dedent(program), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["int32.gte_lte", "90", "/v1/probe", "0"]


def test_a_refused_contract_stops_the_build(source: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "VERSION", tmp_path)
    broken = shutil.copytree(source, tmp_path / "protos", ignore=shutil.ignore_patterns("dist"))
    (broken / "adsml" / "common" / "v1" / "tier.proto").write_text('syntax = "proto3";\nmessage {}\n')
    built = run(UV or "uv", "build", "--wheel", "--python", sys.executable, cwd=broken)
    assert built.returncode != 0
    assert "adsml/common/v1/tier.proto:2" in built.stderr


TYPED = """
from collections.abc import Iterator

import grpc
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as rpc
from adsml.forecasting.v1 import forecasting_service_pb2 as fpb
from adsml.forecasting.v1 import forecasting_service_pb2_grpc as frpc
from google.rpc import status_pb2
from google.type import date_pb2


class Servicer(frpc.ForecastingServiceServicer):
    def Backtest(
        self, request: fpb.BacktestRequest, context: grpc.ServicerContext
    ) -> Iterator[fpb.BacktestResponse]:
        yield fpb.BacktestResponse(report=fpb.BacktestReport(series=len(request.subjects)))


def classify(channel: grpc.Channel) -> tuple[status_pb2.Status, date_pb2.Date]:
    answer = rpc.ClassifierServiceStub(channel).BatchClassify(pb.BatchClassifyRequest(), timeout=5)
    return answer.results[0].error, answer.results[0].classification.as_of_date


async def classify_async(channel: grpc.aio.Channel) -> pb.BatchClassifyResponse:
    return await rpc.ClassifierServiceStub(channel).BatchClassify(pb.BatchClassifyRequest())
"""


def test_strict_type_checker_knows_messages_stubs_and_servicers(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(TYPED)
    (tmp_path / "wrong.py").write_text(
        TYPED + "\n\nclassified = pb.Classification(confidnce=0.5)\nanswer: str = classified.metrics.spend\n"
    )
    settings: tuple[str | Path, ...] = (
        "--config-file",
        ROOT / "pyproject.toml",
        "--cache-dir",
        tmp_path / "c",
    )
    mypy = (sys.executable, "-m", "mypy", *settings)
    right = run(*mypy, "right.py", cwd=tmp_path)
    assert right.returncode == 0, right.stdout
    wrong = run(*mypy, "wrong.py", cwd=tmp_path)
    assert 'Unexpected keyword argument "confidnce"' in wrong.stdout
    assert 'Incompatible types in assignment (expression has type "float"' in wrong.stdout
