"""Decodes greedily with a folder that `spexpand predict --hire` wrote, in stock onnxruntime: hire.onnx is an ordinary
decoder graph. Prints the new token ids as JSON.

    python hire.py FOLDER --new 10 --ids 1 2 3
"""

import argparse
import json
import os

import numpy as np
import onnxruntime as ort

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--new", type=int, default=10)
parser.add_argument("--ids", type=int, nargs="+", required=True)
args = parser.parse_args()

options = ort.SessionOptions()
options.log_severity_level = 3  # errors only: onnxruntime warns about weights that two branches share
path = os.path.join(args.folder, "hire.onnx")
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
hire = json.loads(session.get_modelmeta().custom_metadata_map["spexpand.hire"])
assert hire["version"] == 1, "hire.onnx was written by a later version"

# One cache per input past_key_values.*; it starts empty.
cache = {
    i.name: np.zeros([1, i.shape[1], 0, i.shape[3]], np.float32)
    for i in session.get_inputs()
    if i.name.startswith("past_key_values")
}
names = [o.name for o in session.get_outputs()]
step, made, seen = args.ids, [], 0
while len(made) < args.new:
    seen += len(step)
    feeds = {"input_ids": np.array([step]), "attention_mask": np.ones([1, seen], np.int64), **cache}
    results = dict(zip(names, session.run(names, feeds)))
    cache = {name: results[name.replace("past_key_values", "present")] for name in cache}
    step = [int(results["logits"][0, -1].argmax())]
    made += step
print(json.dumps({"ids": made, "layers": len(hire["layers"]), "softmax": "softmax" in hire}))
