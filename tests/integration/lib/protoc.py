"""A small compiler for the subset of .proto syntax in lib/protos: messages of scalars, messages and string maps."""

import re
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_MESSAGE = re.compile(r"message (\w+) \{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"(repeated |optional |)(map<string, string>|\w+) (\w+) = (\d+);")


def _add_field(message, label, kind, name, number):
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.startswith("map<"):
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "string", "key", 1)
        _add_field(entry, "", "string", "value", 2)
        field.label, field.type, field.type_name = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE, entry.name
        return
    if label == "repeated ":
        field.label = _Field.LABEL_REPEATED
    if kind.islower() or kind[0].islower():
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, kind
    if label == "optional ":
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name="_" + name)


def compile_file(name):
    """Returns {message name: class} for a file of lib/protos."""
    text = re.sub(r"//.*", "", (Path(__file__).parent / "protos" / name).read_text(encoding="utf-8"))
    package = re.search(r"package ([\w.]+);", text).group(1)
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    for message_name, body in _MESSAGE.findall(text):
        message = file.message_type.add(name=message_name)
        if _FIELD.sub("", body).strip():
            raise ValueError(f"{name}: {message_name}: cannot parse {_FIELD.sub('', body).strip()!r}")
        for field in _FIELD.findall(body):
            _add_field(message, *field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {message.name: factory.GetPrototype(pool.FindMessageTypeByName(f"{package}.{message.name}"))
            for message in file.message_type}
