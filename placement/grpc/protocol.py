"""The protocol's messages and calls, as the Open Inference Protocol v2 and Triton's extensions number them.

Described here and built at import, in a descriptor pool of their own: a program that has Triton's client, or another
server's stubs, in the same process would else have two files of one name in the default pool, which protobuf refuses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE, SERVICE = "inference", "GRPCInferenceService"
Message = Any
"""Of one of the classes below; they are made at import, so that no checker knows them."""

_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready",
    "ModelReadyRequest": "string name, string version",
    "ModelReadyResponse": "bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name, string version, string* extensions",
    "ModelMetadataRequest": "string name, string version",
    "TensorMetadata": "string name, string datatype, int64* shape",
    "ModelMetadataResponse": (
        "string name, string* versions, string platform, TensorMetadata* inputs, TensorMetadata* outputs"
    ),
    "InferParameter": (
        "bool? bool_param, int64? int64_param, string? string_param, double? double_param, uint64? uint64_param"
    ),
    "InferTensorContents": (
        "bool* bool_contents, int32* int_contents, int64* int64_contents, uint32* uint_contents, "
        "uint64* uint64_contents, float* fp32_contents, double* fp64_contents, bytes* bytes_contents"
    ),
    "InferInputTensor": (
        "string name, string datatype, int64* shape, InferParameter% parameters, InferTensorContents contents"
    ),
    "InferRequestedOutputTensor": "string name, InferParameter% parameters",
    "ModelInferRequest": (
        "string model_name, string model_version, string id, InferParameter% parameters, InferInputTensor* inputs, "
        "InferRequestedOutputTensor* outputs, bytes* raw_input_contents"
    ),
    "InferOutputTensor": (
        "string name, string datatype, int64* shape, InferParameter% parameters, InferTensorContents contents"
    ),
    "ModelInferResponse": (
        "string model_name, string model_version, string id, InferParameter% parameters, InferOutputTensor* outputs, "
        "bytes* raw_output_contents"
    ),
    "ModelStreamInferResponse": "string error_message, ModelInferResponse infer_response",
    "ModelConfigRequest": "string name, string version",
    "ModelInput": "string name, int32 data_type, int32 format, int64* dims",
    "ModelOutput": "string name, int32 data_type, int64* dims, string label_filename",
    "LatestVersions": "uint32 num_versions",
    "ModelVersionPolicy": "LatestVersions latest",
    "ModelTransactionPolicy": "bool decoupled",
    "ModelConfig": (
        "string name, string platform, ModelVersionPolicy version_policy, int32 max_batch_size, ModelInput* input, "
        "ModelOutput* output, 17 string backend, 19 ModelTransactionPolicy model_transaction_policy"
    ),
    "ModelConfigResponse": "ModelConfig config",
    "ModelStatisticsRequest": "string name, string version",
    "StatisticDuration": "uint64 count, uint64 ns",
    "InferStatistics": (
        "StatisticDuration success, StatisticDuration fail, StatisticDuration queue, StatisticDuration compute_input, "
        "StatisticDuration compute_infer, StatisticDuration compute_output, StatisticDuration cache_hit, "
        "StatisticDuration cache_miss"
    ),
    "ModelStatistics": (
        "string name, string version, uint64 last_inference, uint64 inference_count, uint64 execution_count, "
        "InferStatistics inference_stats"
    ),
    "ModelStatisticsResponse": "ModelStatistics* model_stats",
    "ModelRepositoryParameter": "bool? bool_param, int64? int64_param, string? string_param, bytes? bytes_param",
    "RepositoryIndexRequest": "string repository_name, bool ready",
    "ModelIndex": "string name, string version, string state, string reason",
    "RepositoryIndexResponse": "ModelIndex* models",
    "RepositoryModelLoadRequest": "string repository_name, string model_name, ModelRepositoryParameter% parameters",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "string repository_name, string model_name, ModelRepositoryParameter% parameters",
    "RepositoryModelUnloadResponse": "",
    "Empty": "",
}
"""Fields in the order of their numbers, from 1 unless one is stated; `*` repeated, `?` one of several, `%` a map by
name. Enumerations are the numbers that they are on the wire."""

SHARED_MEMORY = tuple(
    f"{kind}SharedMemory{act}" for kind in ("System", "Cuda") for act in ("Status", "Register", "Unregister")
)
SETTINGS = ("TraceSetting", "LogSettings")


@dataclass(frozen=True)
class GrpcCall:
    """One of the service's calls."""

    name: str
    request: type[Message]
    response: type[Message]
    streams: bool = False
    """Both ways."""

    @property
    def path(self) -> str:
        """As it is asked for."""
        return f"/{PACKAGE}.{SERVICE}/{self.name}"


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="splitplace/inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        number = 0
        for field in filter(None, fields.split(", ")):
            *stated, kind, field_name = field.split(" ")
            number = int(stated[0]) if stated else number + 1
            _add(message, kind, field_name, number)
    return file


def _add(message: descriptor_pb2.DescriptorProto, kind: str, name: str, number: int) -> None:
    one = descriptor_pb2.FieldDescriptorProto
    plain, mark = kind.rstrip("*?%"), kind[-1]
    field = message.field.add(name=name, number=number, label=one.LABEL_OPTIONAL)
    if mark == "%":
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=one.LABEL_OPTIONAL, type=one.TYPE_STRING)
        value = entry.field.add(name="value", number=2, label=one.LABEL_OPTIONAL, type=one.TYPE_MESSAGE)
        value.type_name = f".{PACKAGE}.{plain}"
        field.type, field.type_name = one.TYPE_MESSAGE, f".{PACKAGE}.{message.name}.{entry.name}"
    elif plain in _MESSAGES:
        field.type, field.type_name = one.TYPE_MESSAGE, f".{PACKAGE}.{plain}"
    else:
        field.type = one.Type.Value(f"TYPE_{plain.upper()}")
    if mark in "*%":
        field.label = one.LABEL_REPEATED
    if mark == "?":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _with_nested(descriptor: Any) -> Iterator[tuple[str, type[Message]]]:
    yield descriptor.full_name, message_factory.GetMessageClass(descriptor)
    for nested in descriptor.nested_types:
        yield from _with_nested(nested)


_CLASSES = dict(pair for name in _MESSAGES for pair in _with_nested(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")))
"""All of them, for good. protobuf makes a class when it is asked for and holds it weakly: one that nobody else holds is
taken apart by the garbage collector, and whoever is given it meanwhile, in another thread say, ends the process."""


def message(name: str) -> type[Message]:
    """The class of a message."""
    return _CLASSES[f"{PACKAGE}.{name}"]


def _call(name: str, streams: bool = False) -> GrpcCall:
    request = "ModelInferRequest" if streams else f"{name}Request"
    return GrpcCall(name, message(request), message(f"{name}Response"), streams)


CALLS = (
    *map(_call, (
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelConfig",
        "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload",
    )),
    _call("ModelStreamInfer", streams=True),
    *(GrpcCall(name, message("Empty"), message("Empty")) for name in (*SHARED_MEMORY, *SETTINGS)),
)  # fmt: skip
"""What is asked with other calls' messages is read as if it were empty: they are refused, whatever they say."""
