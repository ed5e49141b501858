"""Writes COUNT JPEGs whose longer side has 500 pixels, made of other pictures.

    python bench/peers/pictures.py FOLDER --count 2000 SOURCE [SOURCE ...]

A source is a folder of pictures or a WebDataset shard.

Each is another crop of a photograph, enlarged: real content at the size that people's thumbnails
and web pictures have. Made with Python 3.11 and Pillow 13.
"""

import argparse
import io
import pathlib
import random
import tarfile

from PIL import Image

LONG, SHORT, QUALITY = 500, 375, 90


KINDS = (".jpg", ".png", ".webp")


def photographs(sources):
    for source in sources:
        if source.is_dir():
            files = sorted(path for path in source.rglob("*") if path.name.endswith(KINDS))
            yield from (path.read_bytes() for path in files)
            continue
        with tarfile.open(source) as tar:
            for member in tar:
                if member.name.endswith(KINDS):
                    yield tar.extractfile(member).read()


def crop(image, draw):
    """A random window of at least three quarters of either side."""
    width, height = (int(side * draw.uniform(0.75, 1)) for side in image.size)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("sources", type=pathlib.Path, nargs="+")
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    draw = random.Random(0)
    originals = list(photographs(arguments.sources))
    for number in range(arguments.count):
        image = Image.open(io.BytesIO(originals[number % len(originals)])).convert("RGB")
        size = (LONG, SHORT) if number % 3 else (SHORT, LONG)
        folder = arguments.folder / f"{number // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        enlarged = crop(image, draw).resize(size, Image.Resampling.BICUBIC)
        enlarged.save(folder / f"{number:06}.jpg", quality=QUALITY)


main()
