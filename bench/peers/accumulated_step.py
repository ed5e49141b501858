"""What a step over a large batch costs in open_clip, at once or with its --accum-freq.

    python bench/peers/accumulated_step.py --batch 256 --micro-batch 32
    python bench/peers/accumulated_step.py --batch 256 --checkpointing

The model of recipes/small-clip by open_clip, its ClipLoss, and the step of its own training loop
(open_clip_train/train.py): with accumulation, features of all parts without gradients, then each part
once more among the features of the others, with the loss of the whole batch each time. In f32 on the CPU,
in bf16 (its autocast) where there is a GPU. Memory is the peak above what was in use before the first step.
Made with Python 3.11, torch 2.13.0, open_clip 3.3.0; on the GPU with torch 2.11.0.
"""

import argparse
import contextlib
import json
import math
import pathlib
import time

import open_clip
import torch

WARM_UP = 1
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.05


def model(folder):
    config = json.loads((folder / "config.json").read_text())
    vision, text = config["vision_config"], config["text_config"]
    return open_clip.CLIP(
        embed_dim=config["projection_dim"],
        vision_cfg=open_clip.CLIPVisionCfg(
            layers=vision["num_hidden_layers"],
            width=vision["hidden_size"],
            head_width=vision["hidden_size"] // vision["num_attention_heads"],
            patch_size=vision["patch_size"],
            image_size=vision["image_size"],
        ),
        text_cfg=open_clip.CLIPTextCfg(
            context_length=text["max_position_embeddings"],
            vocab_size=text["vocab_size"],
            width=text["hidden_size"],
            heads=text["num_attention_heads"],
            layers=text["num_hidden_layers"],
        ),
        quick_gelu=True,
        output_dict=True,
    )


def accumulated(model, criterion, images, texts, precision):
    """Backwards through parts of a batch, as open_clip's loop goes."""
    kept = {}
    with torch.no_grad(), precision():
        for part in zip(images, texts):
            answer = model(*part)
            answer.pop("logit_scale")
            for key, value in answer.items():
                kept.setdefault(key, []).append(value)
    for j, part in enumerate(zip(images, texts)):
        with precision():
            answer = model(*part)
            scale = answer.pop("logit_scale")
            inputs = {key: torch.cat(all[:j] + [answer[key]] + all[j + 1 :]) for key, all in kept.items()}
            loss = criterion(**inputs, logit_scale=scale)
        loss.backward()


def parameters(model):
    named = list(model.named_parameters())
    return [
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
    ]


def used():
    """Bytes in use on the GPU."""
    free, total = torch.cuda.mem_get_info()
    return total - free


def bytes_of(key):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"{key} is not told")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, default="recipes/small-clip")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    precision = (lambda: torch.autocast("cuda", torch.bfloat16)) if gpu else contextlib.nullcontext
    clip = model(arguments.model).to(device).train()
    clip.set_grad_checkpointing(arguments.checkpointing)
    at_once = arguments.micro_batch or arguments.batch
    edge, length = clip.visual.image_size[0], clip.context_length
    pixels = torch.randn(arguments.batch, 3, edge, edge)
    ids = torch.randint(1, 49406, (arguments.batch, length))
    ids[:, -1] = 49407
    pixels, ids = pixels.to(device), ids.to(device)
    optimizer = torch.optim.AdamW(parameters(clip), lr=LEARNING_RATE, betas=(0.9, 0.98))
    before = used() if gpu else bytes_of("VmRSS:")
    for step in range(WARM_UP + arguments.steps):
        if step == WARM_UP:
            wait()
            start = time.perf_counter()
        optimizer.zero_grad()
        if at_once < arguments.batch:
            parts = pixels.split(at_once), ids.split(at_once)
            accumulated(clip, open_clip.ClipLoss(), *parts, precision)
        else:
            with precision():
                loss = open_clip.ClipLoss()(**clip(pixels, ids))
            loss.backward()
        optimizer.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, math.log(100))
    wait()
    seconds = (time.perf_counter() - start) / arguments.steps
    memory = ((used() if gpu else bytes_of("VmHWM:")) - before) / 1e6
    print(
        f"| open_clip | {arguments.batch} | {at_once} | {1e3 * seconds:.0f} ms "
        f"| {1 / seconds:.3f} steps/s | {arguments.batch / seconds:.1f} pairs/s | {memory:.0f} MB |"
    )


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
