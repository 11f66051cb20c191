"""Writes docs/openapi.json from the contracts: their HTTP routes, messages, limits and comments, as OpenAPI 3.

``python protos/openapi.py`` writes it; ``python protos/openapi.py check`` says whether it is up to date. JSON is as
protobuf writes it: names in lowerCamelCase, 64-bit integers as strings, enums by name.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.api.annotations_pb2 as http
from adsml.common.v1 import options_pb2
from buf.validate import validate_pb2 as rules
from google.protobuf import descriptor_pb2 as d
from reference import ENUM, FIELD, MESSAGE, METHOD, SERVICE, VALUE, comments, described

TARGET = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"
Schema = dict[str, Any]
_PLAIN: dict[int, Schema] = {
    d.FieldDescriptorProto.TYPE_DOUBLE: {"type": "number", "format": "double"},
    d.FieldDescriptorProto.TYPE_FLOAT: {"type": "number", "format": "float"},
    d.FieldDescriptorProto.TYPE_INT64: {"type": "string", "format": "int64"},
    d.FieldDescriptorProto.TYPE_INT32: {"type": "integer", "format": "int32"},
    d.FieldDescriptorProto.TYPE_BOOL: {"type": "boolean"},
    d.FieldDescriptorProto.TYPE_STRING: {"type": "string"},
    d.FieldDescriptorProto.TYPE_BYTES: {"type": "string", "format": "byte"},
}
_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "example": "1.5s"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
    },
    "google.type.Date": {
        "type": "object",
        "properties": {name: {"type": "integer", "format": "int32"} for name in ("year", "month", "day")},
        "required": ["year", "month", "day"],
    },
    "google.rpc.Status": {"$ref": "#/components/schemas/google.rpc.Status"},
}
_STATUS: Schema = {
    "type": "object",
    "description": "Why a call failed: a gRPC status code, a sentence, and details with their `@type`.",
    "properties": {
        "code": {"type": "integer", "format": "int32"},
        "message": {"type": "string"},
        "details": {"type": "array", "items": _KNOWN["google.protobuf.Any"]},
    },
}


class Contracts:
    """Every message and enum of the contracts, with what was said of them."""

    def __init__(self) -> None:
        self.files = described()
        self.schemas: dict[str, Schema] = {"google.rpc.Status": _STATUS}
        self.fields: dict[str, list[tuple[d.FieldDescriptorProto, str]]] = {}
        for file in self.files:
            notes = comments(file)
            for at, enum in enumerate(file.enum_type):
                self.schemas[f"{file.package}.{enum.name}"] = _enum(enum, at, notes)
            for at, message in enumerate(file.message_type):
                name = f"{file.package}.{message.name}"
                self.fields[name] = [
                    (field, notes.get((MESSAGE, at, FIELD, index), ""))
                    for index, field in enumerate(message.field)
                ]
                self.schemas[name] = self._message(name, message, notes.get((MESSAGE, at), ""))

    def _message(self, name: str, message: d.DescriptorProto, note: str) -> Schema:
        maps = {entry.name: entry for entry in message.nested_type if entry.options.map_entry}
        properties: Schema = {}
        required = []
        for field, said in self.fields[name]:
            schema = _map(field, maps) or _field(field)
            if field.options.HasExtension(options_pb2.default_number):
                default = field.options.Extensions[options_pb2.default_number]
                whole = int(default) if default.is_integer() else default
                # 64-bit integers are strings in JSON.
                schema["default"] = str(whole) if schema["type"] == "string" else whole
            properties[_camel(field.name)] = _described(schema, said)
            if field.options.Extensions[rules.field].required:
                required.append(_camel(field.name))
        out: Schema = {"type": "object", "description": note, "properties": properties}
        if required:
            out["required"] = required
        return out


def _enum(enum: d.EnumDescriptorProto, at: int, notes: Any) -> Schema:
    values = [
        f"- `{value.name}`: {notes.get((ENUM, at, VALUE, index), '')}"
        for index, value in enumerate(enum.value)
    ]
    return {
        "type": "string",
        "enum": [value.name for value in enum.value],
        "description": "\n".join([notes.get((ENUM, at), ""), "", *values]),
    }


def _map(field: d.FieldDescriptorProto, maps: dict[str, d.DescriptorProto]) -> Schema | None:
    entry = maps.get(field.type_name.rpartition(".")[2])
    if entry is None:
        return None
    return {"type": "object", "additionalProperties": _one(entry.field[1])}


def _one(field: d.FieldDescriptorProto) -> Schema:
    name = field.type_name.lstrip(".")
    if not name:
        return dict(_PLAIN[field.type])
    return dict(_KNOWN.get(name, {"$ref": f"#/components/schemas/{name}"}))


def _field(field: d.FieldDescriptorProto) -> Schema:
    said = field.options.Extensions[rules.field]
    schema = _one(field)
    if field.label != d.FieldDescriptorProto.LABEL_REPEATED:
        return _limited(schema, said)
    out: Schema = {"type": "array", "items": _limited(schema, said.repeated.items)}
    for ours, theirs in (("min_items", "minItems"), ("max_items", "maxItems")):
        if said.repeated.HasField(ours):
            out[theirs] = getattr(said.repeated, ours)
    if said.repeated.unique:
        out["uniqueItems"] = True
    return out


def _limited(schema: Schema, said: rules.FieldRules) -> Schema:
    kind = said.WhichOneof("type")
    if kind == "string":
        for ours, theirs in (("min_len", "minLength"), ("max_len", "maxLength"), ("pattern", "pattern")):
            if said.string.HasField(ours):
                schema[theirs] = getattr(said.string, ours)
    elif kind in {"int32", "double"}:
        limits = getattr(said, kind)
        for ours, theirs in (("gte", "minimum"), ("lte", "maximum")):
            if limits.HasField(ours):
                schema[theirs] = getattr(limits, ours)
        if limits.HasField("gt"):
            schema |= {"minimum": limits.gt, "exclusiveMinimum": True}
    return schema


def _described(schema: Schema, note: str) -> Schema:
    # Beside a reference nothing else counts in OpenAPI 3.0.
    if "$ref" in schema:
        return {"allOf": [schema], "description": note}
    return {**schema, "description": note}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _parameters(contracts: Contracts, message: str, path: str) -> list[Schema]:
    """Fields of a request as parameters: those in the path, and for a GET all others in the query."""
    out = []
    in_path = re.findall(r"\{([a-z_.]+)(?:=[^}]*)?\}", path)
    for name, (field, note) in _flat(contracts, message):
        where = "path" if name in in_path else "query"
        parameter: Schema = {
            "name": name if where == "path" else ".".join(_camel(part) for part in name.split(".")),
            "in": where,
            "description": note,
            "schema": _field(field),
        }
        if where == "path":
            parameter["required"] = True
        out.append(parameter)
    return out


def _flat(
    contracts: Contracts, message: str, prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, tuple[d.FieldDescriptorProto, str]]]:
    for field, note in contracts.fields[message]:
        name = prefix + field.name
        inner = field.type_name.lstrip(".")
        if inner in contracts.fields and field.label != d.FieldDescriptorProto.LABEL_REPEATED and depth < 3:
            yield from _flat(contracts, inner, f"{name}.", depth + 1)
        elif inner not in contracts.fields:
            yield name, (field, note)


def _operation(
    contracts: Contracts, method: d.MethodDescriptorProto, note: str, rule: Any, identity: str, tag: str
) -> tuple[str, str, Schema]:
    verb = str(rule.WhichOneof("pattern"))
    template = str(getattr(rule, verb))
    request = method.input_type.lstrip(".")
    answer = {"$ref": f"#/components/schemas/{method.output_type.lstrip('.')}"}
    kind = "application/x-ndjson" if method.server_streaming else "application/json"
    operation: Schema = {
        "operationId": identity,
        "summary": f"{method.name}: {note.partition('. ')[0].rstrip('.')}.",
        "description": note,
        "tags": [tag],
        "responses": {
            "200": {"description": "The answer.", "content": {kind: {"schema": answer}}},
            "default": {
                "description": "Why there is none.",
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/google.rpc.Status"}}
                },
            },
        },
    }
    parameters = _parameters(contracts, request, template)
    if rule.body == "*":
        parameters = [one for one in parameters if one["in"] == "path"]
        body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{request}"}}}
        operation["requestBody"] = {"required": True, "content": body}
    if parameters:
        operation["parameters"] = parameters
    return re.sub(r"=[^}]*\}", "}", template), verb, operation


def document() -> Schema:
    """The whole document."""
    contracts = Contracts()
    paths: dict[str, Schema] = {}
    tags = []
    for file in contracts.files:
        notes = comments(file)
        for at, service in enumerate(file.service):
            tags.append({"name": service.name, "description": notes.get((SERVICE, at), "")})
            for index, method in enumerate(service.method):
                rule = method.options.Extensions[http.http]
                note = notes.get((SERVICE, at, METHOD, index), "")
                for count, one in enumerate((rule, *rule.additional_bindings)):
                    identity = f"{service.name}_{method.name}" + (f"_{count + 1}" if count else "")
                    path, verb, operation = _operation(contracts, method, note, one, identity, service.name)
                    paths.setdefault(path, {})[verb] = operation
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "adsml",
            "version": "1",
            "description": (
                "Model services for Meta Ads performance data, as JSON over HTTP by the gateway. Generated from the "
                "contracts by `make reference`."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "`make up`"}],
        "tags": tags,
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": dict(sorted(contracts.schemas.items())),
        },
    }


def main() -> None:
    """Write the document, or check it."""
    text = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["check"]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            raise SystemExit("docs/openapi.json is not what the contracts say; run: make reference")
        return
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
