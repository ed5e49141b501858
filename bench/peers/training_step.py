"""How long a training step of a ViT-B/32 takes, written plainly in PyTorch or made by open_clip.

    python bench/peers/training_step.py plain --batch 16 --length 16
    python bench/peers/training_step.py open_clip --batch 1024 --precision bf16

`plain` is the CLIP of transformers with the loss of the paper and torch.optim.AdamW; `open_clip` is
its model, its ClipLoss and the step of its own training loop, eager, whose texts are always as long
as its context (77). On a GPU where there is one. Made with Python 3.11, torch 2.13.0, transformers
5.24.0, open_clip 3.3.0; on the GPU with torch 2.11.0.
"""

import argparse
import contextlib
import math
import time

import torch

WARM_UP = 3
LEARNING_RATE = 1e-5
WEIGHT_DECAY = 0.1
CONTEXT = 77


def forward_operations(length):
    """Of matrix products for one pair, as trainer/examples/training_step.rs counts them."""
    blocks = lambda width, tokens: 24 * tokens * (12 * width * width + 2 * tokens * width)
    return 2 * 49 * 3 * 32 * 32 * 768 + blocks(768, 50) + blocks(512, length)


class Plain:
    def __init__(self, device):
        from transformers import CLIPConfig, CLIPModel

        self.model = CLIPModel(CLIPConfig()).to(device).train()

    def loss(self, pixels, ids):
        image = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)
        text = self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)
        image, text = (torch.nn.functional.normalize(x, dim=-1) for x in (image, text))
        scores = self.model.logit_scale.exp() * image @ text.T
        targets = torch.arange(len(scores), device=scores.device)
        entropy = torch.nn.functional.cross_entropy
        return (entropy(scores, targets) + entropy(scores.T, targets)) / 2

    def after(self):
        pass


class OpenClip:
    def __init__(self, device):
        import open_clip

        # Without a name of pretrained weights nothing is fetched.
        self.model = open_clip.create_model("ViT-B-32-quickgelu", device=device).train()
        self.criterion = open_clip.ClipLoss()

    def loss(self, pixels, ids):
        image, text, scale = self.model(pixels, ids)
        return self.criterion(image, text, scale)

    def after(self):
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))


def parameters(model):
    """Vectors do not decay, as open_clip has it."""
    named = list(model.named_parameters())
    return [
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["plain", "open_clip"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = arguments.precision or ("bf16" if device.type == "cuda" else "f32")
    length = CONTEXT if arguments.what == "open_clip" else arguments.length
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    case = Plain(device) if arguments.what == "plain" else OpenClip(device)
    pixels = torch.randn(arguments.batch, 3, 224, 224).to(device)
    ids = torch.randint(49406, (arguments.batch, length))
    ids[:, -1] = 49407
    ids = ids.to(device)
    seconds = measure(case, pixels, ids, precision, arguments.steps)
    rate = arguments.batch / seconds
    work = 3 * forward_operations(length) * rate / 1e12
    name = {"f32": "F32", "bf16": "Bf16"}[precision]
    print(
        f"| {arguments.what} | {name} | {arguments.batch} | {length} | {1e3 * seconds:.1f} ms "
        f"| {rate:.1f} pairs/s | {work:.2f} TFLOP/s |"
    )


def measure(case, pixels, ids, precision, steps):
    optimizer = torch.optim.AdamW(parameters(case.model), lr=LEARNING_RATE, betas=(0.9, 0.98))
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            wait()
            start = time.perf_counter()
        optimizer.zero_grad()
        narrow = precision == "bf16"
        with torch.autocast(pixels.device.type, torch.bfloat16) if narrow else contextlib.nullcontext():
            loss = case.loss(pixels, ids)
        loss.backward()
        optimizer.step()
        case.after()
    wait()
    return (time.perf_counter() - start) / steps


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
