"""Generated requests over gRPC: messages of every call, whole and damaged."""

import random
from typing import Any

from splitplace.benchmarks.requests_parts import (
    IMAGE_BYTES,
    MODEL,
    OTHER,
    SHAPE,
    GeneratedRequest,
    changed,
    logits_of,
)
from splitplace.placement.grpc.protocol import CALLS, PACKAGE, SERVICE, message


def any_call(rng: random.Random, number: int) -> GeneratedRequest:
    """A message of some call, most of them to the model; damaged or not.

    Args:
        rng: Of the request.
        number: Which it is.
    """
    call = rng.choice(CALLS)
    if call.name in ("ModelInfer", "ModelStreamInfer") or rng.random() < 0.5:
        name = rng.choice(("ModelInfer", "ModelInfer", "ModelStreamInfer"))
        call = next(one for one in CALLS if one.name == name)
        asked, logits = _question(rng, number)
    else:
        asked, logits = call.request(), b""
        for field in ("name", "model_name", "version"):
            if field in call.request.DESCRIPTOR.fields_by_name and rng.random() < 0.7:
                unloads = call.name == "RepositoryModelUnload"
                setattr(asked, field, rng.choice((OTHER if unloads else MODEL, "nobody", "1", "x" * 300)))
    data, path = asked.SerializeToString(), call.path
    if rng.random() < 0.3:
        data, logits = changed(rng, data), b""
    if rng.random() < 0.02:
        path, logits = f"/{PACKAGE}.{SERVICE}/{rng.choice(('', 'x', 'modelinfer', 'ModelInfer/'))}", b""
    metadata = {"authorization": "Bearer x", "x-more": "y" * rng.choice((1, 3000))}
    stated = tuple((name, metadata[name]) for name in rng.sample(list(metadata), rng.choice((0, 0, 1))))
    return GeneratedRequest("grpc", data, logits=logits, path=path, metadata=stated)


def _question(rng: random.Random, number: int) -> tuple[Any, bytes]:
    images = rng.randbytes(IMAGE_BYTES * rng.choice((1, 1, 3)))
    asked = message("ModelInferRequest")(model_name=MODEL, raw_input_contents=[images])
    tensor = asked.inputs.add(name="image", datatype="UINT8", shape=[len(images) // IMAGE_BYTES, *SHAPE])
    asked.parameters["deadline_s"].double_param = 30.0
    if rng.random() < 0.1:
        asked.id = f"request {number}"
    logits = logits_of(images)
    what = rng.randrange(16)
    if what >= 8:
        return asked, logits
    match what:
        case 0:
            asked.model_name = rng.choice(("", "nobody", "x" * 3000))
        case 1:
            tensor.shape[0] = rng.choice((0, -1, 2**62, 2))
        case 2:
            tensor.datatype = rng.choice(("", "FP32", "BYTES", "x" * 100))
        case 3:
            asked.raw_input_contents.append(b"x")
        case 4:
            tensor.contents.uint_contents.extend([1, 2, 2**31])
        case 5:
            asked.outputs.add(name=rng.choice(("logits", "x"))).parameters["classification"].int64_param = rng.choice(
                (0, 2, -1, 2**62)
            )
        case 6:
            asked.parameters["deadline_s"].string_param = "x"
        case 7:
            del asked.inputs[:]
    return asked, b""
