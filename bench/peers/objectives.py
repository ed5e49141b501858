"""How long an objective of open_clip or lightly takes, forward and backward, and what memory it needs.

    python bench/peers/objectives.py info-nce --batch 4096

info-nce and sigmoid are open_clip's, nt-xent and dcl lightly's (which normalizes its inputs once more),
all over random unit vectors, as trainer/examples/objectives.rs measures ours. On a GPU where there is
one. Made with Python 3.11, torch 2.13.0, open_clip 3.3.0, lightly 1.6.0.
"""

import argparse
import resource
import time

import torch

LOGIT_SCALE = 2.6592


def open_clip_info_nce(images, texts, scale, bias):
    return open_clip_loss("ClipLoss")(images, texts, scale.exp())


def open_clip_sigmoid(images, texts, scale, bias):
    return open_clip_loss("SigLipLoss")(images, texts, scale.exp(), bias)


def open_clip_loss(name):
    import open_clip.loss

    return getattr(open_clip.loss, name)()


def lightly_nt_xent(images, texts, scale, bias):
    return lightly_loss("NTXentLoss")(images, texts)


def lightly_dcl(images, texts, scale, bias):
    return lightly_loss("DCLLoss")(images, texts)


def lightly_loss(name):
    import lightly.loss

    return getattr(lightly.loss, name)(temperature=0.07)


OBJECTIVES = {
    "info-nce": ("open_clip", open_clip_info_nce),
    "sigmoid": ("open_clip", open_clip_sigmoid),
    "nt-xent": ("lightly", lightly_nt_xent),
    "dcl": ("lightly", lightly_dcl),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("objective", choices=OBJECTIVES)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    size = (arguments.batch, arguments.dim)
    embeddings = lambda: torch.nn.functional.normalize(torch.randn(size, device=device)).requires_grad_()
    scalar = lambda value: torch.tensor(value, device=device).requires_grad_()
    inputs = [embeddings(), embeddings(), scalar(LOGIT_SCALE), scalar(-10.0)]
    peer, loss = OBJECTIVES[arguments.objective]
    # Loads what it needs before memory is looked at.
    loss(*(x[:2] if x.dim() else x for x in inputs)).backward()
    before = most_resident_mib()
    for _ in range(arguments.warm_up):
        forward_and_backward(loss, inputs)
    start = time.perf_counter()
    for _ in range(arguments.rounds):
        forward_and_backward(loss, inputs)
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / arguments.rounds
    print(
        f"| {peer} | {arguments.objective} | {arguments.batch} | {arguments.dim} | {1e3 * seconds:.1f} ms "
        f"| {arguments.batch / seconds:.1f} pairs/s | {most_resident_mib() - before:.0f} MiB |"
    )


def forward_and_backward(loss, inputs):
    for x in inputs:
        x.grad = None
    loss(*inputs).backward()


def most_resident_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
