"""Ask a front door over gRPC, by a stream of requests: python serve_grpc.py ADDRESS MODEL IMAGES.npy."""

import queue
import sys

import numpy as np
import tritonclient.grpc as triton

if __name__ == "__main__":
    address, model, file = sys.argv[1:]
    images, answers = np.load(file), queue.Queue()
    with triton.InferenceServerClient(address) as client:
        (takes,) = client.get_model_metadata(model).inputs
        client.start_stream(lambda result, error: answers.put(error or result))
        for image in images:
            tensor = triton.InferInput(takes.name, [1, *image.shape], takes.datatype)
            tensor.set_data_from_numpy(image[None])
            client.async_stream_infer(model, [tensor], parameters={"deadline_s": 30})
        for _ in images:
            answer = answers.get()
            print(answer.as_numpy("logits").argmax(), answer.get_response().parameters["split"].string_param)
