"""Continues token ids with onnxruntime-genai, greedily: check_genai.py FOLDER CASES.json, the answers on standard output.

A case is {"pieces": [[ids], ...], "new": n, "text": "..."}: the pieces are appended one after the other, before the answer.
"""
import json
import sys

import numpy as np
import onnxruntime_genai as og


def run(model, case):
    length = sum(len(piece) for piece in case["pieces"])
    params = og.GeneratorParams(model)
    params.set_search_options(do_sample=False, max_length=length + case["new"])
    generator = og.Generator(model, params)
    for piece in case["pieces"]:
        generator.append_tokens(np.array(piece, dtype=np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)][length:]


folder, cases = sys.argv[1], json.load(open(sys.argv[2]))
model = og.Model(folder)
answers = []
for case in cases:
    answer = {"type": model.type, "ids": run(model, case)}
    if "text" in case:
        tokenizer = og.Tokenizer(model)
        answer["encoded"] = [int(token) for token in tokenizer.encode(case["text"])]
        answer["decoded"] = tokenizer.decode(answer["ids"])
    answers.append(answer)
json.dump(answers, sys.stdout)
