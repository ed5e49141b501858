"""Pictures a second from JPEG files to stored vectors, as one would do it in Python.

    python bench/peers/indexing.py transformers FOLDER CHECKPOINT          # PyTorch, f32; f16 on a GPU
    python bench/peers/indexing.py onnxruntime FOLDER vision_model.onnx    # any graph, the same pixels

Decoding and resizing by Pillow run on a thread of their own ahead of the model, which has all
threads; each batch of vectors goes into SQLite in one transaction. Made with Python 3.11, torch
2.13.0, transformers 5.24.0, Pillow 13.0.0, ONNX Runtime 1.32.0, in an environment of its own.
"""

import argparse
import concurrent.futures
import os
import pathlib
import sqlite3
import tempfile
import time

import numpy
from PIL import Image

SIDE = 224
MEAN = numpy.array([0.48145466, 0.4578275, 0.40821073], dtype=numpy.float32)
STD = numpy.array([0.26862954, 0.26130258, 0.27577711], dtype=numpy.float32)


def pixels(path):
    """CLIP's own: the shorter side to 224, bicubic, then the middle square; [3, 224, 224]."""
    image = Image.open(path)
    scale = SIDE / min(image.size)
    # JPEG's own scaling, where it leaves more than is wanted, saves decoding.
    image.draft("RGB", tuple(int(side * scale) for side in image.size))
    scale = SIDE / min(image.size)
    size = tuple(max(SIDE, int(side * scale)) for side in image.size)
    image = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE))
    values = (numpy.asarray(image, dtype=numpy.float32) / 255 - MEAN) / STD
    return values.transpose(2, 0, 1)


def with_transformers(checkpoint, threads):
    import torch
    from transformers import CLIPImageProcessor, CLIPModel

    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.float16 if device == "cuda" else torch.float32
    model = CLIPModel.from_pretrained(checkpoint).eval().to(device, kind)
    processor = CLIPImageProcessor.from_pretrained(checkpoint)

    def prepare(path):
        return processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"]

    def embed(batch):
        with torch.inference_mode():
            pooled = model.vision_model(pixel_values=torch.cat(batch).to(device, kind)).pooler_output
            return model.visual_projection(pooled).float().cpu().numpy()

    return prepare, embed


def with_onnxruntime(graph, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return pixels, lambda batch: session.run(None, {"pixel_values": numpy.stack(batch)})[0]


def store(database, paths, vectors):
    vectors = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [(str(path), vector.astype("<f4").tobytes()) for path, vector in zip(paths, vectors)]
    with database:
        database.executemany("insert into vectors values (?, ?)", rows)


def measure(files, prepare, embed, batch):
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(pathlib.Path(folder) / "vectors.sqlite")
        database.execute("create table vectors (path text primary key, vector blob)")
        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(1) as ahead:
            batches = [files[at : at + batch] for at in range(0, len(files), batch)]
            ready = lambda paths: [prepare(path) for path in paths]
            following = ahead.submit(ready, batches[0])
            for number, paths in enumerate(batches):
                inputs = following.result()
                if number + 1 < len(batches):
                    following = ahead.submit(ready, batches[number + 1])
                store(database, paths, embed(inputs))
        return len(files) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["transformers", "onnxruntime"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int, default=None)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.rglob("*.jpg"))[: arguments.limit]
    peers = {"transformers": with_transformers, "onnxruntime": with_onnxruntime}
    prepare, embed = peers[arguments.peer](arguments.model, arguments.threads)
    embed([prepare(files[0])])
    rate = measure(files, prepare, embed, arguments.batch)
    print(f"{arguments.peer}: {len(files)} pictures, {rate:.1f} pictures/s")


main()
