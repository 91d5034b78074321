"""Makes the two bundled corpora from the full training and evaluation texts they were drawn from.

Usage: make_subset.py TRAIN_JSONL EVAL_JSONL OUT_DIR

Both sources are JSON lines with `domain` and `text`. Whole documents only, the same bytes for the same sources:
per domain, documents are taken in the order of the SHA-256 of their text (a fixed shuffle) as long as they fit into
what is left of the domain's budget, then written in the order of the source. Domains that have less than their share
leave the rest to the others. A document that is also in the training source is never taken for evaluation.
"""
import hashlib
import json
import os
import sys

CALIBRATION_BYTES = 2_600_000
EVALUATION_BYTES = 460_000


def read(path):
    with open(path, encoding='utf8') as f:
        return [json.loads(line) for line in f if line.strip()]


def digest(document):
    return hashlib.sha256(document['text'].encode('utf8')).hexdigest()


def size(document):
    return len(document['text'].encode('utf8'))


def budgets(documents, total):
    """Equal shares of `total` bytes, smallest domain first, so that what it lacks goes to the larger ones."""
    have = {}
    for d in documents:
        have[d['domain']] = have.get(d['domain'], 0) + size(d)
    shares, left = {}, total
    for i, (domain, available) in enumerate(sorted(have.items(), key=lambda item: (item[1], item[0]))):
        shares[domain] = min(available, left // (len(have) - i))
        left -= shares[domain]
    return shares


def select(documents, total):
    left, chosen = budgets(documents, total), set()
    for d in sorted(documents, key=digest):
        if size(d) <= left[d['domain']]:
            left[d['domain']] -= size(d)
            chosen.add(digest(d))
    return [d for d in documents if digest(d) in chosen]


def write(path, documents):
    with open(path, 'w', encoding='utf8', newline='\n') as f:
        for d in documents:
            f.write(json.dumps({'domain': d['domain'], 'text': d['text']}, ensure_ascii=False) + '\n')
    by = {}
    for d in documents:
        n, b = by.get(d['domain'], (0, 0))
        by[d['domain']] = (n + 1, b + size(d))
    print(os.path.basename(path), len(documents), 'documents', sum(b for _, b in by.values()), 'bytes of text')
    for domain, (n, b) in sorted(by.items()):
        print(f'  {domain}: {n} documents, {b} bytes')


def main():
    train, evaluation, out = read(sys.argv[1]), read(sys.argv[2]), sys.argv[3]
    seen = {digest(d) for d in train}
    write(os.path.join(out, 'calibration.jsonl'), select(train, CALIBRATION_BYTES))
    write(os.path.join(out, 'evaluation.jsonl'), select([d for d in evaluation if digest(d) not in seen], EVALUATION_BYTES))


if __name__ == '__main__':
    main()
