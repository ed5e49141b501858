"""How many pictures a second torchvision augments, as trainer/examples/augment.rs measures ours.

    python bench/peers/augment.py FOLDER --from files

The usual recipe of contrastive learning on pictures (MoCo v2) by torchvision.transforms.v2 on uint8
tensors, in the worker processes of a DataLoader, with torchvision's own decoder of JPEGs. Made with
Python 3.11, torch 2.13.0 and torchvision 0.28.0.
"""

import argparse
import pathlib
import time

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode, v2

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH = 50


def moco(side):
    kernel = 2 * max(round(side / 20), 1) + 1
    return v2.Compose([
        v2.RandomResizedCrop(side, scale=(0.2, 1.0), interpolation=InterpolationMode.BICUBIC, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], p=0.5),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ])  # fmt: skip


def decoded(file):
    return decode_jpeg(torch.frombuffer(bytearray(file), dtype=torch.uint8), ImageReadMode.RGB)


class Pictures(Dataset):
    def __init__(self, files, arguments):
        self.files = files
        self.pixels = [decoded(file) for file in files] if arguments.source == "pixels" else None
        self.augment = moco(arguments.side)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, at):
        picture = decoded(self.files[at]) if self.pixels is None else self.pixels[at]
        return self.augment(picture)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--from", dest="source", choices=["files", "pixels"], default="pixels")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=224)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    paths = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    files = [path.read_bytes() for path in paths[: arguments.count]]
    pictures = Pictures(files, arguments)
    loader = DataLoader(pictures, BATCH, num_workers=arguments.threads, persistent_workers=True)
    for round in range(arguments.rounds + 1):
        if round == 1:
            start = time.perf_counter()
        seen = sum(len(batch) for batch in loader)
    rate = arguments.rounds * seen / (time.perf_counter() - start)
    print(f"| torchvision | {arguments.threads} processes | {rate:.1f} pictures/s |")


if __name__ == "__main__":
    main()
