"""Ray Serve with the models of the front door's bench: run by an interpreter that has ray[serve] and onnxruntime.

Nothing of SplitPlace is imported: `serve_ray.py MODELS PORT`, MODELS a JSON object of name -> [ONNX file, shape of an
image]. Prints its versions as a JSON line when it is up, and ends with its standard input.
"""

import json
import sys
from typing import Any

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

AT_ONCE = 1024
"""Requests that a replica takes on, as a front door of ours does; Ray's own default is 5."""


class RayModel:
    """One model, in a replica of one thread; the body is the image's bytes, and so is the answer the logits'."""

    def __init__(self, file: str, shape: list[int]):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._shape = (-1, *shape)

    async def __call__(self, request: Request) -> Response:
        """One request."""
        x = np.frombuffer(await request.body(), np.uint8).reshape(self._shape)
        (logits,) = self._session.run(None, {"image": x})
        return Response(logits.tobytes(), media_type="application/octet-stream")


def main(models: dict[str, Any], port: int) -> None:
    """Serve until the standard input ends."""
    ray.init(num_cpus=max(2, len(models)), include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    for name, (file, shape) in models.items():
        deployment = serve.deployment(
            RayModel, name=name, num_replicas=1, max_ongoing_requests=AT_ONCE, ray_actor_options={"num_cpus": 0.5}
        )
        serve.run(deployment.bind(file, shape), name=name, route_prefix=f"/{name}")
    print(json.dumps({"ray": ray.__version__, "onnxruntime": onnxruntime.__version__}), flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
