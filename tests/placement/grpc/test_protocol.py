"""The messages are those of the protocol: held against the ones that Triton's client brings, field by field."""

from tritonclient.grpc import service_pb2

from splitplace.placement.grpc.protocol import CALLS, SETTINGS, SHARED_MEMORY, message
from splitplace.placement.grpc.translate import DATA_TYPES

ENUM, INT32 = 14, 5
THEIRS = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]


def differing(ours, theirs, place):
    """The fields of ours that theirs have otherwise, or not at all."""
    by_number = {field.number: field for field in theirs.fields}
    for field in ours.fields:
        other = by_number.get(field.number)
        kinds = (field.type, INT32 if other is not None and other.type == ENUM else other and other.type)
        if other is None or other.name != field.name or kinds[0] != kinds[1] or other.is_repeated != field.is_repeated:
            yield f"{place}.{field.name} = {field.number}"
        elif field.message_type is not None:
            yield from differing(field.message_type, other.message_type, f"{place}.{field.name}")


def test_every_call_has_the_protocols_messages():
    """Names, numbers, kinds: what one side writes the other reads."""
    assert {call.name for call in CALLS} == set(THEIRS.methods_by_name)
    for call in CALLS:
        if call.name in (*SHARED_MEMORY, *SETTINGS):
            continue
        method = THEIRS.methods_by_name[call.name]
        assert not list(differing(call.request.DESCRIPTOR, method.input_type, call.name))
        assert not list(differing(call.response.DESCRIPTOR, method.output_type, call.name))
        assert call.path == f"/inference.GRPCInferenceService/{call.name}"


def test_a_request_is_the_same_bytes_in_both():
    """Written by one, read and written again by the other."""
    theirs = service_pb2.ModelInferRequest(model_name="m", id="7", raw_input_contents=[b"abc"])
    theirs.inputs.add(name="x", datatype="FP32", shape=[2, 3]).parameters["p"].int64_param = -5
    theirs.parameters["deadline_s"].double_param = 1.5
    ours = message("ModelInferRequest").FromString(theirs.SerializeToString())
    assert ours.parameters["deadline_s"].WhichOneof("parameter_choice") == "double_param"
    assert service_pb2.ModelInferRequest.FromString(ours.SerializeToString()) == theirs


def test_data_types_have_the_protocols_numbers():
    """An enumeration is a number on the wire."""
    from tritonclient.grpc import model_config_pb2

    enum = model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"]
    theirs = {value.name.removeprefix("TYPE_"): value.number for value in enum.values}
    assert {name: theirs[name] for name in DATA_TYPES} == DATA_TYPES
