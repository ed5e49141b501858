"""How long a training step takes, written plainly in PyTorch or made by open_clip.

    python bench/peers/training_step.py plain --batch 16 --length 16
    python bench/peers/training_step.py open_clip --batch 1024 --precision bf16
    python bench/peers/training_step.py plain --model towers

`plain` is the model of transformers (and timm) with the loss of the paper and torch.optim.AdamW;
`open_clip` is its model, its ClipLoss and the step of its own training loop, eager. `--model clip` is a
ViT-B/32, whose texts are always 77 tokens long in open_clip; `--model towers` an EfficientNet-Lite2 of
timm beside a MiniLM, all of which learns: batch normalizations keep their statistics in `plain`, as
here, and take each batch's in open_clip, as its loop has it. On a GPU where there is one. Made with
Python 3.11, torch 2.13.0, transformers 5.24.0, timm 1.0.31, open_clip 3.3.0; on the GPU with torch 2.11.0.
"""

import argparse
import contextlib
import math
import tempfile
import time

import torch

WARM_UP = 3
LEARNING_RATE = 1e-5
WEIGHT_DECAY = 0.1
CONTEXT = 77
# Of the towers, as trainer/examples/training_step.rs has them.
LITE, EDGE, DIM = "tf_efficientnet_lite2", 260, 384
MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def forward_operations(length):
    """Of matrix products for one pair, as trainer/examples/training_step.rs counts them."""
    blocks = lambda width, tokens: 24 * tokens * (12 * width * width + 2 * tokens * width)
    return 2 * 49 * 3 * 32 * 32 * 768 + blocks(768, 50) + blocks(512, length)


class Plain:
    """A ViT-B/32."""

    def __init__(self, device):
        from transformers import CLIPConfig, CLIPModel

        self.model = CLIPModel(CLIPConfig()).to(device).train()

    def features(self, pixels, ids):
        image = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)
        return image, self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)

    def loss(self, pixels, ids):
        image, text = (torch.nn.functional.normalize(x, dim=-1) for x in self.features(pixels, ids))
        scores = self.model.logit_scale.exp() * image @ text.T
        targets = torch.arange(len(scores), device=scores.device)
        entropy = torch.nn.functional.cross_entropy
        return (entropy(scores, targets) + entropy(scores.T, targets)) / 2

    def after(self):
        pass


class PlainTowers(Plain):
    def __init__(self, device):
        import timm
        from transformers import BertConfig, BertModel

        vision = timm.create_model(LITE, num_classes=0)
        model = torch.nn.ModuleDict(
            {
                "vision": vision,
                "text": BertModel(BertConfig(**MINILM), add_pooling_layer=False),
                "visual_projection": torch.nn.Linear(vision.num_features, DIM),
                "text_projection": torch.nn.Linear(MINILM["hidden_size"], DIM),
            }
        )
        model.logit_scale = torch.nn.Parameter(torch.tensor(2.6592))
        self.model = model.to(device).eval()

    def features(self, pixels, ids):
        image = self.model["visual_projection"](self.model["vision"](pixels))
        states = self.model["text"](input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return image, self.model["text_projection"](states.mean(1))


class OpenClip:
    """A ViT-B/32."""

    def __init__(self, device):
        import open_clip

        self.model = self.made(open_clip).to(device).train()
        self.criterion = open_clip.ClipLoss()

    def made(self, open_clip):
        # Without a name of pretrained weights nothing is fetched.
        return open_clip.create_model("ViT-B-32-quickgelu")

    def loss(self, pixels, ids):
        image, text, scale = self.model(pixels, ids)
        return self.criterion(image, text, scale)

    def after(self):
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))


class OpenClipTowers(OpenClip):
    def made(self, open_clip):
        from transformers import BertConfig

        with tempfile.TemporaryDirectory() as folder:
            BertConfig(**MINILM).save_pretrained(folder)
            return open_clip.CustomTextCLIP(
                embed_dim=DIM,
                vision_cfg=open_clip.CLIPVisionCfg(timm_model_name=LITE, timm_pool="avg", timm_proj="linear", image_size=EDGE),
                text_cfg=open_clip.CLIPTextCfg(
                    hf_model_name=folder,
                    hf_model_pretrained=False,
                    hf_proj_type="linear",
                    hf_pooler_type="mean_pooler",
                ),
            )


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
    parser.add_argument("--model", choices=["clip", "towers"], default="clip")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", choices=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = arguments.precision or ("bf16" if device.type == "cuda" else "f32")
    is_clip = arguments.model == "clip"
    length = CONTEXT if is_clip and arguments.what == "open_clip" else arguments.length
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    makers = {
        ("plain", "clip"): Plain,
        ("plain", "towers"): PlainTowers,
        ("open_clip", "clip"): OpenClip,
        ("open_clip", "towers"): OpenClipTowers,
    }
    case = makers[arguments.what, arguments.model](device)
    edge, words = (224, 49406) if is_clip else (EDGE, 30000)
    pixels = torch.randn(arguments.batch, 3, edge, edge).to(device)
    ids = torch.randint(1, words, (arguments.batch, length))
    ids[:, -1] = words + 1
    ids = ids.to(device)
    seconds = measure(case, pixels, ids, precision, arguments.steps)
    rate = arguments.batch / seconds
    work = f" {3 * forward_operations(length) * rate / 1e12:.2f} TFLOP/s |" if is_clip else ""
    name = {"f32": "F32", "bf16": "Bf16"}[precision]
    print(
        f"| {arguments.what} | {name} | {arguments.batch} | {length} | {1e3 * seconds:.1f} ms "
        f"| {rate:.1f} pairs/s |{work}"
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
