"""`adsml gateway-config`: what an Envoy needs to stand in front of all families."""

import json
from pathlib import Path
from typing import Annotated

import typer

from adsml_common.cli.output import console
from adsml_common.domain.errors import InvalidInput


def gateway_config(
    output: Annotated[Path, typer.Option(help="Folder to write envoy.json and contracts.binpb to.")],
    backend: Annotated[
        list[str],
        typer.Option(help="FAMILY=HOST:PORT, once for each family.", show_default=False),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of /metrics; 0: none.")] = 0,
    origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may call; repeatable.", show_default=False)
    ] = None,
    max_request_bytes: Annotated[int, typer.Option(min=1024, help="Longest request body.")] = 16 * 2**20,
    memory_bytes: Annotated[
        int, typer.Option(min=64 * 2**20, help="Heap at which requests are refused.")
    ] = 512 * 2**20,
    cert_file: Annotated[str, typer.Option(help="PEM: certificate towards callers.")] = "",
    key_file: Annotated[str, typer.Option(help="PEM: its key.")] = "",
    client_ca_file: Annotated[str, typer.Option(help="PEM: who may have issued callers' certificates.")] = "",
    backend_ca_file: Annotated[str, typer.Option(help="PEM: who may have issued the services'.")] = "",
    backend_cert_file: Annotated[str, typer.Option(help="PEM: certificate towards the services.")] = "",
    backend_key_file: Annotated[str, typer.Option(help="PEM: its key.")] = "",
) -> None:
    """Write an Envoy's configuration: gRPC, gRPC-Web and JSON over HTTP for all families at one address.

    Example: adsml gateway-config --output gateway --backend classifier=127.0.0.1:50051 ...; envoy -c gateway/envoy.json
    """
    from adsml_common.gateway import TlsFiles, descriptor_set, envoy_config  # noqa: PLC0415

    backends: dict[str, str] = {}
    for one in backend:
        family, _, target = one.partition("=")
        if not target.rpartition(":")[2].isdigit():
            raise InvalidInput.at("--backend", f"is {one!r}; expected FAMILY=HOST:PORT")
        backends[family] = target
    output.mkdir(parents=True, exist_ok=True)
    descriptors = output.resolve() / "contracts.binpb"
    config = envoy_config(
        backends,
        host=host,
        port=port,
        metrics_port=metrics_port,
        descriptor_file=str(descriptors),
        origins=origin or (),
        max_request_bytes=max_request_bytes,
        memory_bytes=memory_bytes,
        listener_tls=TlsFiles(cert_file, key_file, client_ca_file),
        backend_tls=TlsFiles(backend_cert_file, backend_key_file, backend_ca_file),
    )
    descriptors.write_bytes(descriptor_set())
    (output / "envoy.json").write_text(json.dumps(config, indent=1) + "\n")
    console.print(f"wrote {output / 'envoy.json'} and {descriptors}", soft_wrap=True, highlight=False)
