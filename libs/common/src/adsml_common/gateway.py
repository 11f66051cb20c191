"""Configuration of an Envoy in front of all families: gRPC, gRPC-Web and JSON over HTTP at one address.

Routes are read off the contracts: a service's path leads to the family that its package names; HTTP paths are those
of ``google.api.http``. Registry and training are served by each family: a JSON request says which in its path, a gRPC
request in the header `FAMILY_HEADER`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import google.api.annotations_pb2 as annotations
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

FAMILY_HEADER: Final = "x-adsml-family"
_TYPE: Final = "type.googleapis.com/envoy.extensions"
_MIB: Final = 2**20
# Errors carry these in `google.protobuf.Any`; to write them as JSON the gateway must know them.
_ERROR_TYPES: Final = ("google.rpc.error_details_pb2", "google.rpc.status_pb2")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files as Envoy sees them: certificate and key of this side, authority of the other's; or none."""

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""

    @property
    def empty(self) -> bool:
        return not (self.cert_file or self.key_file or self.ca_file)

    def context(self) -> dict[str, Any]:
        context: dict[str, Any] = {"alpn_protocols": ["h2", "http/1.1"]}
        if self.cert_file:
            context["tls_certificates"] = [
                {
                    "certificate_chain": {"filename": self.cert_file},
                    "private_key": {"filename": self.key_file},
                }
            ]
        if self.ca_file:
            context["validation_context"] = {"trusted_ca": {"filename": self.ca_file}}
        return context


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """What a gateway stands between; `backends` are ``host:port`` by family.

    `metrics_port` is where Prometheus finds its figures; 0: nowhere. Pages of `origins` may call, such as
    ``https://dash.example.com``; ``*`` for any. At `memory_bytes` of heap new requests are refused.
    """

    backends: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int = 0
    descriptor_file: str = "contracts.binpb"
    origins: Sequence[str] = ()
    max_request_bytes: int = 16 * _MIB
    listener_tls: TlsFiles = TlsFiles()
    backend_tls: TlsFiles = TlsFiles()
    memory_bytes: int = 512 * _MIB
    max_connections: int = 10_000


def services() -> list[ServiceDescriptor]:
    found = [service for file in _contracts() for service in file.services_by_name.values()]
    return sorted(found, key=lambda service: str(service.full_name))


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


def envoy_config(spec: GatewaySpec) -> dict[str, Any]:
    """Envoy's bootstrap, to be written as JSON; raises `ValueError` where a family has no backend."""
    known = {package_family(service) for service in services()} - {"registry", "training"}
    if missing := known - spec.backends.keys():
        raise ValueError(f"no backend for {', '.join(sorted(missing))}")
    admin = {"address": _address("127.0.0.1", 0)}
    config: dict[str, Any] = {
        "admin": admin,
        "static_resources": {
            "listeners": [_listener(spec)],
            "clusters": [_cluster(name, target, spec.backend_tls) for name, target in spec.backends.items()],
        },
        "overload_manager": _overload(spec),
    }
    if spec.metrics_port:
        # The admin interface can stop Envoy: only its figures are let out.
        admin["address"] = _admin(spec)
        config["static_resources"]["listeners"].append(_metrics_listener(spec))
        config["static_resources"]["clusters"].append(_admin_cluster(spec))
    return config


def package_family(service: ServiceDescriptor) -> str:
    """The word of its package: ``classifier`` for ``adsml.classifier.v1.ClassifierService``."""
    return str(service.full_name).split(".")[1]


def _contracts() -> list[FileDescriptor]:
    pool = descriptor_pool.Default()
    found = []
    for name in sorted(_service_files(files("adsml"), "adsml")):
        import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        found.append(pool.FindFileByName(name))
    return found


def _service_files(folder: Traversable, path: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _service_files(entry, f"{path}/{entry.name}")
        elif entry.name.endswith("_service.proto"):
            yield f"{path}/{entry.name}"


def http_rules(service: ServiceDescriptor) -> Iterator[tuple[str, Any]]:
    """Each method's name with its HTTP rules, additional ones included."""
    for method in service.methods:
        rule = method.GetOptions().Extensions[annotations.http]
        for one in (rule, *rule.additional_bindings):
            if one.WhichOneof("pattern"):
                yield method.name, one


def http_path(rule: Any) -> tuple[str, str]:
    verb = str(rule.WhichOneof("pattern"))
    return verb, str(getattr(rule, verb))


def _routes(spec: GatewaySpec) -> list[dict[str, Any]]:
    routes: list[dict[str, Any]] = [
        {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}}}
    ]
    for service in services():
        family = package_family(service)
        prefix = f"/{service.full_name}/"
        paths = [http_path(rule)[1] for _, rule in http_rules(service)]
        if family in spec.backends:
            routes.append(_route({"prefix": prefix}, family))
            routes.extend(_route({"safe_regex": {"regex": _pattern(path)}}, family) for path in paths)
            continue
        for one in spec.backends:
            header = {"name": FAMILY_HEADER, "string_match": {"exact": one, "ignore_case": True}}
            routes.append(_route({"prefix": prefix, "headers": [header]}, one))
            routes.extend(_route({"safe_regex": {"regex": _pattern(path, one)}}, one) for path in paths)
    return routes


def _pattern(template: str, family: str = "") -> str:
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


def _route(match: Mapping[str, Any], cluster: str) -> dict[str, Any]:
    # The caller's own deadline (grpc-timeout) ends a call; streams of progress may last.
    limits = {"max_stream_duration": "3600s", "grpc_timeout_header_max": "3600s"}
    return {
        "match": dict(match),
        "route": {"cluster": cluster, "timeout": "0s", "max_stream_duration": limits},
    }


def _listener(spec: GatewaySpec) -> dict[str, Any]:
    filters = [
        _extension("filters.http.cors", "v3.Cors"),
        _extension("filters.http.grpc_web", "v3.GrpcWeb"),
        _extension(
            "filters.http.grpc_json_transcoder",
            "v3.GrpcJsonTranscoder",
            proto_descriptor=spec.descriptor_file,
            services=[str(service.full_name) for service in services()],
            convert_grpc_status=True,
            match_incoming_request_route=True,
            case_insensitive_enum_parsing=True,
            max_request_body_size=spec.max_request_bytes,
            max_response_body_size=64 * _MIB,
            print_options={"always_print_primitive_fields": False, "stream_newline_delimited": True},
            request_validation_options={"reject_unknown_query_parameters": True},
        ),
        _extension("filters.http.router", "v3.Router"),
    ]
    host: dict[str, Any] = {"name": "all", "domains": ["*"], "routes": _routes(spec)}
    if spec.origins:
        host["typed_per_filter_config"] = {"envoy.filters.http.cors": _cors(spec.origins)}
    manager = _manager(
        "gateway",
        route_config={"name": "contracts", "virtual_hosts": [host]},
        http_filters=filters,
        normalize_path=True,
        merge_slashes=True,
        use_remote_address=True,
        request_headers_timeout="10s",
        stream_idle_timeout="300s",
        max_request_headers_kb=32,
        http2_protocol_options={
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": _MIB,
        },
        common_http_protocol_options={
            "idle_timeout": "900s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        local_reply_config={
            "body_format": {"json_format": {"code": "%GRPC_STATUS_NUMBER%", "message": "%LOCAL_REPLY_BODY%"}}
        },
    )
    chain: dict[str, Any] = {"filters": [manager]}
    if not spec.listener_tls.empty:
        chain["transport_socket"] = _extension(
            "transport_sockets.tls",
            "v3.DownstreamTlsContext",
            common_tls_context=spec.listener_tls.context(),
            require_client_certificate=bool(spec.listener_tls.ca_file),
        )
    return {
        "name": "calls",
        "address": _address(spec.host, spec.port),
        "per_connection_buffer_limit_bytes": _MIB,
        "filter_chains": [chain],
    }


def _cors(origins: Sequence[str]) -> dict[str, Any]:
    matches = [{"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin} for origin in origins]
    return {
        "@type": f"{_TYPE}.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": matches,
        "allow_methods": "GET, POST, OPTIONS",
        "allow_headers": (
            "authorization, content-type, x-grpc-web, x-user-agent, grpc-timeout, connect-protocol-version, "
            f"x-request-id, {FAMILY_HEADER}"
        ),
        "expose_headers": "grpc-status, grpc-message, grpc-status-details-bin, x-request-id",
        "max_age": "86400",
    }


def _cluster(name: str, target: str, tls: TlsFiles) -> dict[str, Any]:
    host, _, port = target.rpartition(":")
    http = f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions"
    cluster: dict[str, Any] = {
        "name": name,
        # Every pod behind a headless Service, and what it becomes when pods come and go.
        "type": "STRICT_DNS",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "2s",
        "dns_refresh_rate": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(host.strip("[]"), int(port))}}]}
            ],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": http,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "no_traffic_interval": "5s",
                "grpc_health_check": {},
            }
        ],
    }
    if not tls.empty:
        cluster["transport_socket"] = _extension(
            "transport_sockets.tls",
            "v3.UpstreamTlsContext",
            sni=host,
            common_tls_context={**tls.context(), "alpn_protocols": ["h2"]},
        )
    return cluster


def _overload(spec: GatewaySpec) -> dict[str, Any]:
    def action(name: str, monitor: str, value: float) -> dict[str, Any]:
        return {
            "name": f"envoy.overload_actions.{name}",
            "triggers": [{"name": f"envoy.resource_monitors.{monitor}", "threshold": {"value": value}}],
        }

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            _extension(
                "resource_monitors.fixed_heap", "v3.FixedHeapConfig", max_heap_size_bytes=spec.memory_bytes
            ),
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{_TYPE}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": spec.max_connections,
                },
            },
        ],
        "actions": [
            action("shrink_heap", "fixed_heap", 0.9),
            action("stop_accepting_requests", "fixed_heap", 0.95),
        ],
    }


def _metrics_listener(spec: GatewaySpec) -> dict[str, Any]:
    route = {
        "match": {"path": "/metrics"},
        "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"},
    }
    host = {"name": "metrics", "domains": ["*"], "routes": [route]}
    manager = _manager(
        "metrics",
        route_config={"name": "metrics", "virtual_hosts": [host]},
        http_filters=[_extension("filters.http.router", "v3.Router")],
    )
    address = _address(spec.host, spec.metrics_port)
    return {"name": "metrics", "address": address, "filter_chains": [{"filters": [manager]}]}


def _manager(name: str, **settings: Any) -> dict[str, Any]:
    kind = "filters.network.http_connection_manager"
    return _extension(kind, "v3.HttpConnectionManager", stat_prefix=name, **settings)


def _extension(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": f"envoy.{name}", "typed_config": {"@type": f"{_TYPE}.{name}.{kind}", **settings}}


def _admin(spec: GatewaySpec) -> dict[str, Any]:
    return {"pipe": {"path": f"@adsml-gateway-admin-{spec.port}"}}


def _admin_cluster(spec: GatewaySpec) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _admin(spec)}}
    return {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
