"""Server reflection, for clients that were not given the contracts."""

from collections.abc import AsyncIterator
from typing import Final

import grpc
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection, reflection_pb2

from adsml_common.domain.errors import AdsmlError
from adsml_common.serving.access import Authorizer
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.transport import Handler, ServicerContext, parse, refuse, text_metadata

SERVICE: Final = "grpc.reflection.v1alpha.ServerReflection"


def reflection_handlers(services: tuple[str, ...], authorizer: Authorizer) -> dict[str, Handler]:
    """Tells callers that the authorizer knows which services there are, and their contracts."""
    servicer = reflection.aio.ReflectionServicer((*services, SERVICE))

    async def info(requests: AsyncIterator[bytes], context: ServicerContext) -> AsyncIterator[bytes]:
        try:
            authorizer.authenticate(CallContext(metadata=text_metadata(context)), context)
            async for raw in requests:
                request = parse(reflection_pb2.ServerReflectionRequest, raw)
                responses: AsyncIterator[Message] = servicer.ServerReflectionInfo(_only(request), context)  # type: ignore[assignment]
                async for response in responses:
                    yield response.SerializeToString()
        except AdsmlError as error:
            await refuse(context, status_of(error))

    return {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(info)}


async def _only(
    request: reflection_pb2.ServerReflectionRequest,
) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    yield request
