"""Writes docs/contracts.md from the .proto files: every service, message and enum with its comments.

``python protos/reference.py`` writes it; ``python protos/reference.py check`` says whether it is up to date.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from adsml.common.v1 import options_pb2
from adsml_common.serving import contract_rules
from buf.validate import validate_pb2
from check import compile_image
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2 as d

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "docs" / "contracts.md"
ORDER = ("classifier", "forecasting", "anomaly", "impact", "registry", "training", "common")
HEAD = """# Contracts

Generated from `protos/` by `make reference`; do not edit. Routes over HTTP are the gateway's;
[openapi.json](openapi.json) has them for tools. What binds beside the fields: every response names what
answered and what it had to do without; bad input is `INVALID_ARGUMENT` with every violation at once; a field marked
*optional* is unset where it is missing, and 0 is a value.
"""
# Numbers of the descriptor's own fields, which a comment's path is made of.
MESSAGE, ENUM, SERVICE, FIELD, METHOD, VALUE = 4, 5, 6, 2, 2, 2
Comments = dict[tuple[int, ...], str]


def described() -> list[d.FileDescriptorProto]:
    """Our files with their comments, in the order of the page."""
    with tempfile.TemporaryDirectory() as folder:
        image, _ = compile_image(HERE, Path(folder) / "contracts.binpb")
        found = d.FileDescriptorSet.FromString(image.read_bytes())
    ours = [file for file in found.file if file.package.startswith("adsml.")]
    return sorted(ours, key=lambda file: (ORDER.index(file.package.split(".")[1]), file.name))


def comments(file: d.FileDescriptorProto) -> Comments:
    """What stands above each declaration of a file, by the declaration's path."""
    return {
        tuple(one.path): " ".join(one.leading_comments.split())
        for one in file.source_code_info.location
        if one.leading_comments
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _link(full: str) -> str:
    full = full.lstrip(".")
    return f"[{full.split('.')[-1]}](#{full.lower()})"


def _head(package: str, name: str) -> str:
    """A heading that links find, though several packages have one of the same name."""
    return f'#### <a id="{package.lower()}.{name.lower()}"></a>{name}\n'


def _type(field: d.FieldDescriptorProto) -> str:
    kinds = d.FieldDescriptorProto
    if field.type in (kinds.TYPE_MESSAGE, kinds.TYPE_ENUM):
        full = field.type_name.lstrip(".")
        short = full.split(".")[-1]
        name = f"[{short}](#{full.lower()})" if full.startswith("adsml.") and "Entry" not in short else full
    else:
        name = kinds.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == kinds.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _numbers(field: d.FieldDescriptorProto) -> str:
    """The numbers that a field takes, and the one that holds where it is not set."""
    bounds = contract_rules.number_bounds(field.options.Extensions[validate_pb2.field])
    parts = []
    if bounds.low is not None or bounds.high is not None:
        parts.append(contract_rules.number_text(bounds, finite=False).removeprefix("a whole number, "))
    if field.options.HasExtension(options_pb2.default_number):
        parts.append(f"default {field.options.Extensions[options_pb2.default_number]:g}")
    return "".join(f", {part}" for part in parts)


def _service(at: int, service: d.ServiceDescriptorProto, notes: Comments, package: str) -> Iterator[str]:
    yield f"### {service.name}\n"
    yield f"`{package}.{service.name}`. {notes.get((SERVICE, at), '')}\n"
    yield "| method | request | response | over HTTP | |\n|---|---|---|---|---|"
    for index, method in enumerate(service.method):
        asked, answered = (_link(one) for one in (method.input_type, method.output_type))
        stream = "stream of " if method.server_streaming else ""
        note = _cell(notes.get((SERVICE, at, METHOD, index), ""))
        rule = method.options.Extensions[annotations_pb2.http]
        routes = ", ".join(
            f"`{one.WhichOneof('pattern').upper()} {getattr(one, one.WhichOneof('pattern'))}`"
            for one in (rule, *rule.additional_bindings)
        )
        yield f"| `{method.name}` | {asked} | {stream}{answered} | {routes} | {note} |"
    yield ""


def _message(at: int, message: d.DescriptorProto, notes: Comments, package: str) -> Iterator[str]:
    yield _head(package, message.name)
    yield f"{notes.get((MESSAGE, at), '')}\n"
    if not message.field:
        return
    yield "| field | type | meaning |\n|---|---|---|"
    for index, field in enumerate(message.field):
        one_of = (
            f"One of `{message.oneof_decl[field.oneof_index].name}`. "
            if field.HasField("oneof_index") and not field.proto3_optional
            else ""
        )
        note = _cell(notes.get((MESSAGE, at, FIELD, index), ""))
        yield f"| `{field.name}` | {_type(field)}{_numbers(field)} | {one_of}{note} |"
    yield ""


def _enum(at: int, enum: d.EnumDescriptorProto, notes: Comments, package: str) -> Iterator[str]:
    yield _head(package, enum.name)
    yield f"{notes.get((ENUM, at), '')}\n"
    yield "| value | meaning |\n|---|---|"
    for index, value in enumerate(enum.value):
        yield f"| `{value.name}` | {_cell(notes.get((ENUM, at, VALUE, index), ''))} |"
    yield ""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    package = ""
    for file in described():
        notes = comments(file)
        if file.package != package:
            package = file.package
            lines.append(f"## {package}\n")
        for at, service in enumerate(file.service):
            lines += _service(at, service, notes, package)
        for at, message in enumerate(file.message_type):
            lines += _message(at, message, notes, package)
        for at, enum in enumerate(file.enum_type):
            lines += _enum(at, enum, notes, package)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page, or check it."""
    if sys.argv[1:] == ["check"]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != page():
            raise SystemExit("docs/contracts.md is not what the contracts say; run: make reference")
        return
    TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
