"""Configuration of an Envoy in front of all families: gRPC, gRPC-Web and JSON over HTTP at one address.

Routes are read off the contracts: a service's path leads to the family that its package names; HTTP paths are those
of ``google.api.http``. Registry and training are served by each family: a JSON request says which in its path, a gRPC
request in the header `FAMILY_HEADER`. All else stands in ``gateway.json`` as Envoy has it: streams of progress may
last, so the caller's own deadline (``grpc-timeout``) ends a call; every pod behind a headless Service is found by DNS.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

import adsml
import google.api.annotations_pb2 as annotations
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from adsml_common.domain.errors import InvalidInput

FAMILY_HEADER: Final = "x-adsml-family"
# Errors carry these in `google.protobuf.Any`; to write them as JSON the gateway must know them.
_ERROR_TYPES: Final = ("google.rpc.error_details_pb2", "google.rpc.status_pb2")
_TEMPLATE: Final = json.loads(files("adsml_common").joinpath("gateway.json").read_text("utf-8"))


class TlsFiles(NamedTuple):
    """PEM files as Envoy sees them: certificate and key of this side, authority of the other's; empty: none."""

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""


def descriptor_set() -> bytes:
    """The contracts with all they import, and the types of error details: a serialized ``FileDescriptorSet``."""
    for name in _ERROR_TYPES:
        import_module(name)
    pool = descriptor_pool.Default()
    roots = [*_contracts(), pool.FindFileByName("google/rpc/error_details.proto")]
    out, seen = descriptor_pb2.FileDescriptorSet(), set[str]()

    def add(file: FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        file.CopyToProto(out.file.add())

    for root in roots:
        add(root)
    return out.SerializeToString(deterministic=True)


def envoy_config(
    backends: Mapping[str, str],
    *,
    host: str,
    port: int,
    metrics_port: int,
    descriptor_file: str,
    origins: Sequence[str],
    max_request_bytes: int,
    memory_bytes: int,
    listener_tls: TlsFiles,
    backend_tls: TlsFiles,
) -> dict[str, Any]:
    """Envoy's bootstrap, to be written as JSON; raises `InvalidInput` where a family has no backend.

    `backends` are ``host:port`` by family. `metrics_port` is where Prometheus finds its figures; 0: nowhere. Pages of
    `origins` may call, such as ``https://dash.example.com``; ``*`` for any. At `memory_bytes` of heap new requests are
    refused.
    """
    if missing := {_family(service) for service in _services()} - {"registry", "training"} - backends.keys():
        raise InvalidInput.at("--backend", f"no backend for {', '.join(sorted(missing))}")
    admin: dict[str, Any] = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    clusters = [_cluster(name, target, backend_tls) for name, target in backends.items()]
    metrics = None
    if metrics_port:
        # The admin interface can stop Envoy: only its figures are let out.
        admin = {"pipe": {"path": f"@adsml-gateway-admin-{port}"}}
        metrics = _filled("metrics_listener", host=host, metrics_port=metrics_port)
        clusters.append(_filled("admin_cluster", admin=admin))
    allowed = [{"safe_regex": {"regex": ".*"}} if one == "*" else {"exact": one} for one in origins]
    config: dict[str, Any] = _filled(
        "bootstrap",
        admin=admin,
        host=host,
        port=port,
        routes=_routes(backends),
        cors=_filled("cors", origins=allowed) if origins else None,
        descriptor_file=descriptor_file,
        services=[str(service.full_name) for service in _services()],
        max_request_bytes=max_request_bytes,
        memory_bytes=memory_bytes,
        listener_tls=_tls("downstream_tls", listener_tls, mutual=bool(listener_tls.ca_file)),
        metrics_listener=metrics,
        clusters=clusters,
    )
    return config


def _filled(part_name: str, /, **values: Any) -> Any:
    """A part of the template, with values in the places of ``$name``; what has None is left out."""

    def fill(part: Any) -> Any:
        match part:
            case dict():
                return {key: one for key, value in part.items() if (one := fill(value)) is not None}
            case list():
                return [one for value in part if (one := fill(value)) is not None]
            case str() if part.startswith("$"):
                return values[part[1:]]
        return part

    return fill(_TEMPLATE[part_name])


def _tls(name: str, pem: TlsFiles, **values: Any) -> Any:
    certificate = {
        "certificate_chain": {"filename": pem.cert_file},
        "private_key": {"filename": pem.key_file},
    }
    authority = {"trusted_ca": {"filename": pem.ca_file}} if pem.ca_file else None
    certificates = [certificate] if pem.cert_file else None
    return _filled(name, certificates=certificates, authority=authority, **values) if any(pem) else None


def _cluster(name: str, target: str, pem: TlsFiles) -> Any:
    host, _, port = target.rpartition(":")
    tls = _tls("upstream_tls", pem, host=host)
    return _filled("cluster", name=name, host=host.strip("[]"), port=int(port), tls=tls)


def _services() -> list[ServiceDescriptor]:
    found = [service for file in _contracts() for service in file.services_by_name.values()]
    return sorted(found, key=lambda service: str(service.full_name))


def _family(service: ServiceDescriptor) -> str:
    """The word of its package: ``classifier`` for ``adsml.classifier.v1.ClassifierService``."""
    return str(service.full_name).split(".")[1]


def _contracts() -> list[FileDescriptor]:
    pool = descriptor_pool.Default()
    names = {
        f"adsml/{path.relative_to(root).as_posix()}"
        for root in adsml.__path__
        for path in Path(root).rglob("*_service.proto")
    }
    for name in names:
        import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return [pool.FindFileByName(name) for name in sorted(names)]


def _http_paths(service: ServiceDescriptor) -> Iterator[str]:
    """The paths of its methods' HTTP rules, additional ones included."""
    for method in service.methods:
        rule = method.GetOptions().Extensions[annotations.http]
        for one in (rule, *rule.additional_bindings):
            if verb := one.WhichOneof("pattern"):
                yield getattr(one, verb)


def _routes(backends: Mapping[str, str]) -> list[Any]:
    healthy = {"status": 200, "body": {"inline_string": "ok\n"}}
    routes: list[Any] = [{"match": {"path": "/healthz"}, "direct_response": healthy}]
    for service in _services():
        # Registry and training are every family's.
        own = _family(service) in backends
        for one in (_family(service),) if own else backends:
            header = {"name": FAMILY_HEADER, "string_match": {"exact": one, "ignore_case": True}}
            prefix = {"prefix": f"/{service.full_name}/"} | ({} if own else {"headers": [header]})
            paths = [{"safe_regex": {"regex": _pattern(path, one)}} for path in _http_paths(service)]
            routes += [_filled("route", match=match, cluster=one) for match in (prefix, *paths)]
    return routes


def _pattern(template: str, family: str) -> str:
    """A path template as a regular expression; ``{family}`` only matches this family."""
    parts = []
    for part in re.split(r"(\{[^}]*\})", template):
        if not part.startswith("{"):
            parts.append(re.escape(part).replace("\\-", "-"))
        elif part == "{family}":
            parts.append(f"(?i:FAMILY_{family.upper()})")
        else:
            parts.append(".+" if "**" in part else "[^/]+")
    return "".join(parts)
