"""Ten nearest pictures of a caption by USearch, over the vectors that `nearest` has left in a folder.

    python bench/peers/usearch_nearest.py target/bench/vectors --counts 20000 200000

The same numbers of neighbors and candidates as `server/src/index/graph.rs` and `hnsw.rs`; one thread
searches, all build. Made with Python 3.11, usearch 2.26.6, numpy 2.4.6.
"""

import argparse
import pathlib
import time

import numpy as np
from usearch.index import Index

LIMIT = 10
QUERIES = 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--counts", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    read = lambda path: np.fromfile(path, dtype="<f4").reshape(-1, arguments.dim)
    queries = read(arguments.folder / "captions.f32")[:QUERIES]
    print("| vectors | built in | median | 99 % | recall@10 |\n|---|---|---|---|---|")
    for count in arguments.counts:
        measure(queries, read(arguments.folder / f"collection-{count}.f32"))


def measure(queries, vectors):
    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype="f32",
        connectivity=16, expansion_add=200, expansion_search=160,
    )
    start = time.perf_counter()
    index.add(np.arange(len(vectors)), vectors)
    built = time.perf_counter() - start
    took, shared = [], 0
    for query in queries:
        start = time.perf_counter()
        found = index.search(query, LIMIT, threads=1)
        took.append((time.perf_counter() - start) * 1e3)
        nearest = np.argpartition(-(vectors @ query), LIMIT)[:LIMIT]
        shared += len(set(found.keys.tolist()) & set(nearest.tolist()))
    took.sort()
    median, slow = took[len(took) // 2], took[len(took) * 99 // 100]
    recall = shared / (LIMIT * len(queries))
    print(f"| {len(vectors)} | {built:.1f} s | {median:.2f} ms | {slow:.2f} ms | {recall:.4f} |", flush=True)


if __name__ == "__main__":
    main()
