"""Ask a front door over gRPC, by a stream of requests: python serve_grpc.py ADDRESS MODEL IMAGES.npy [CERTIFICATE.pem].

With a certificate that is to be trusted it speaks TLS, and states the token in the variable SPLITPLACE_TOKEN.
"""

import os
import queue
import sys

import numpy as np
import tritonclient.grpc as triton

if __name__ == "__main__":
    address, model, file, *trusted = sys.argv[1:]
    images, answers, options, headers = np.load(file), queue.Queue(), {}, None
    if trusted:
        options = {"ssl": True, "root_certificates": trusted[0]}
        headers = {"authorization": f"Bearer {os.environ['SPLITPLACE_TOKEN']}"}
    with triton.InferenceServerClient(address, **options) as client:
        (takes,) = client.get_model_metadata(model, headers=headers).inputs
        client.start_stream(lambda result, error: answers.put(error or result), headers=headers)
        for image in images:
            tensor = triton.InferInput(takes.name, [1, *image.shape], takes.datatype)
            tensor.set_data_from_numpy(image[None])
            client.async_stream_infer(model, [tensor], parameters={"deadline_s": 300})
        for _ in images:
            answer = answers.get()
            print(answer.as_numpy("logits").argmax(), answer.get_response().parameters["split"].string_param)
