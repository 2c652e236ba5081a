"""The messages are those of the protocol: held against the ones that Triton's client brings, field by field."""

import gc
import subprocess
import weakref

from tritonclient.grpc import service_pb2

from splitplace.children import child_env, python_code
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


def test_the_classes_of_messages_stay():
    """Those of messages within messages, too: protobuf itself holds them weakly."""
    request = message("ModelInferRequest")()
    given = request.inputs.add()
    given.parameters["p"].int64_param = 1
    parts = [given, given.contents, given.parameters["p"], request.outputs.add(), message("ModelConfig")()]
    held = [weakref.ref(type(part)) for part in parts]
    del request, given, parts
    gc.collect()
    assert [reference().__name__ for reference in held] == [
        "InferInputTensor", "InferTensorContents", "InferParameter", "InferRequestedOutputTensor", "ModelConfig"
    ]  # fmt: skip


WHILE_IT_IS_COLLECTED = """
import ctypes, gc
from splitplace.placement.grpc.protocol import message

Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
capsule = ctypes.pythonapi.PyCapsule_New
capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, Destructor]
asked = Destructor(lambda _: made.append(message("ModelConfig")(name="x").name))
gc.disable()
made, one = [], message("ModelConfig")
garbage = [one, *([capsule(1, None, asked)] for _ in range(5))]
garbage.append(garbage)
del one, garbage
gc.collect()
print(made)
"""
"""What is asked for while the collector takes garbage apart, the class of the message among it."""


def test_a_class_may_be_asked_for_while_garbage_is_collected():
    """As another thread does: a process in which that was a class taken apart ended by SIGSEGV."""
    child = subprocess.run(
        python_code(WHILE_IT_IS_COLLECTED), env=child_env(), capture_output=True, text=True, timeout=300
    )
    assert (child.returncode, child.stdout.strip()) == (0, str(["x"] * 5)), child.stderr
