"""Makes a full-size random CLIP (ViT-B/32) by transformers, what it answers, and how fast it is.

    python bench/peers/full_clip.py FOLDER [--threads 2]
    cargo run --release -p clipsight-trainer --example full_clip -- FOLDER [--threads 2]

The second command loads the folder, compares, trains a step, exports, compares again, and measures
the same things in Rust. Made with Python 3.11, torch 2.13.0, transformers 5.24.0, in an environment
of its own; FOLDER takes 1.4 GB in the end.
"""

import argparse
import pathlib
import shutil
import time

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

TOKENIZER = pathlib.Path(__file__).parents[2] / "clip/tests/fixtures/tokens/clip_tokenizer.json"

BATCH = 16
LENGTH = 16
STEPS = 4


def median_ms(run, times=7):
    run()
    took = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        took.append((time.perf_counter() - start) * 1e3)
    return sorted(took)[times // 2]


def texts(config, batch, length):
    """Start, words by a formula, end at different places, zeros behind."""
    ids = (torch.arange(batch * length) * 7919 + 13).reshape(batch, length) % (config.eos_token_id - 1)
    ids[:, 0] = config.bos_token_id
    for row in range(batch):
        end = length - 1 - row % (length // 2)
        ids[row, end] = config.eos_token_id
        ids[row, end + 1 :] = 0
    return ids


def features(model, pixels, ids):
    image = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    text = model.text_projection(model.text_model(input_ids=ids).pooler_output)
    return image, text


def step(model, optimizer, pixels, ids):
    """As one writes it plainly: forward, symmetric cross-entropy, backward, AdamW."""
    optimizer.zero_grad()
    image, text = (torch.nn.functional.normalize(x, dim=-1) for x in features(model, pixels, ids))
    scores = model.logit_scale.exp() * image @ text.T
    targets = torch.arange(len(scores))
    entropy = torch.nn.functional.cross_entropy
    loss = (entropy(scores, targets) + entropy(scores.T, targets)) / 2
    loss.backward()
    optimizer.step()
    return loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    model = CLIPModel(CLIPConfig()).eval()
    pixels, ids = torch.randn(BATCH, 3, 224, 224), texts(model.config.text_config, BATCH, LENGTH)
    make_and_measure(model, pixels, ids, arguments.folder)
    train(model, pixels, ids)


def make_and_measure(model, pixels, ids, folder):
    model.save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    with torch.no_grad():
        image, text = features(model, pixels, ids)
        recorded = {"pixel_values": pixels, "input_ids": ids, "image_features": image, "text_features": text}
        save_file(recorded, folder / "expected.safetensors")
        for name, run in [
            ("image tower, batch 1", lambda: model.vision_model(pixel_values=pixels[:1])),
            ("image tower, batch 8", lambda: model.vision_model(pixel_values=pixels[:8])),
            ("text tower, batch 1 of 16 tokens", lambda: model.text_model(input_ids=ids[:1])),
        ]:
            print(f"{name}: {median_ms(run):.1f} ms")


def train(model, pixels, ids):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), weight_decay=0.1)
    model.train()
    losses = []
    took = median_ms(lambda: losses.append(step(model, optimizer, pixels, ids)), STEPS - 1)
    print(f"training step, batch {BATCH}: {took:.0f} ms; losses {' '.join(f'{x:.4f}' for x in losses)}")


if __name__ == "__main__":
    main()
