"""Ask a front door by Triton's own client: python serve_triton.py URL MODEL IMAGE."""

import sys

import numpy as np
import tritonclient.http as triton
from PIL import Image

if __name__ == "__main__":
    url, model, file = sys.argv[1:]
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        (takes,) = client.get_model_metadata(model)["inputs"]
        _, channels, height, width = takes["shape"]
        image = Image.open(file).convert("L" if channels == 1 else "RGB").resize((width, height))
        images = np.asarray(image, np.uint8).reshape(1, height, width, channels).transpose(0, 3, 1, 2)
        tensor = triton.InferInput(takes["name"], images.shape, takes["datatype"])
        tensor.set_data_from_numpy(np.ascontiguousarray(images))
        wanted = triton.InferRequestedOutput("logits", class_count=3)
        answer = client.infer(model, [tensor], outputs=[wanted], parameters={"deadline_s": 300.0})
        for line in answer.as_numpy("logits")[0]:
            print(line.decode())
        told = answer.get_response()["parameters"]
        print(f"by {told['split']} in {told['response_s']:.3f} s")
