"""How many steps of SimCLR a second lightly makes with the same encoder and batches.

    python bench/peers/simclr_step.py --batch 128

The image tower of recipes/small-clip by transformers (scaled dot product attention), the projection
head and the loss of lightly, torch.optim.AdamW, two views of a batch of noise, f32, as lightly's own
example for SimCLR has the step. On a GPU where there is one. Made with Python 3.11, torch 2.13.0,
transformers 5.24.0, lightly 1.6.0.
"""

import argparse
import json
import pathlib
import time

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from transformers import CLIPVisionConfig, CLIPVisionModel

WARM_UP = 3
# As recipes/alone.toml has them.
HIDDEN, DIM, TEMPERATURE = 512, 128, 0.2
LEARNING_RATE, WEIGHT_DECAY = 5e-4, 0.05


class SimCLR(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.backbone = CLIPVisionModel(config)
        self.projection_head = SimCLRProjectionHead(config.hidden_size, HIDDEN, DIM)

    def forward(self, pixels):
        return self.projection_head(self.backbone(pixel_values=pixels).pooler_output)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, default="recipes/small-clip")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vision = json.loads((arguments.model / "config.json").read_text())["vision_config"]
    config = CLIPVisionConfig(**vision)
    model = SimCLR(config).to(device).train()
    views = [torch.randn(arguments.batch, 3, config.image_size, config.image_size, device=device) for _ in range(2)]
    seconds = measure(model, views, arguments.steps)
    print(f"| lightly | {arguments.batch} | {1e3 * seconds:.1f} ms | {1 / seconds:.2f} steps/s |")


def measure(model, views, steps):
    criterion = NTXentLoss(temperature=TEMPERATURE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            wait()
            start = time.perf_counter()
        first, second = (model(view) for view in views)
        loss = criterion(first, second)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    wait()
    return (time.perf_counter() - start) / steps


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
