"""A live fleet behind HTTP in one program, asked by the standard library alone."""

import http.client
import json

import numpy as np
from own_fleet import device

import splitplace as sp

if __name__ == "__main__":
    cut = sp.split("mobilenetv3_small_100", random_weights=True, size=64, fragments=2, application="noise")
    sp.export(cut, "catalog")
    sp.profile("catalog", quick=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8)
    inputs = [
        {"name": "image", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()},
        {"name": "labels", "datatype": "INT64", "shape": [2], "data": [0, 0]},  # in place of an evaluation
    ]
    body = json.dumps({"inputs": inputs, "parameters": {"deadline_s": 300}}).encode()
    with (
        sp.Fleet([device("d", 1, 1.0, 2 * 10**9)], "catalog", policy="layer+least-loaded", data="fleet") as fleet,
        sp.FrontDoor(fleet, port=0) as door,
    ):
        connection = http.client.HTTPConnection(door.url.removeprefix("http://"))
        connection.request("POST", "/v2/models/noise/infer", body)
        told = json.load(connection.getresponse())
        connection.close()
        print(f"{told['outputs'][0]['shape']} by {told['parameters']['split']}")
