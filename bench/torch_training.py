"""One training step of the official model in PyTorch, f32 or under bf16 autocast: its time, and the
most memory that the process has held.

usage: python torch_training.py PEERS [--precision f32|bf16] [--threads 2] [--windows 8] [--runs 3]

PEERS is the folder with lewm_model.py. Losses, optimiser and sizes are those of PEERS/bench_lewm.py;
memory is of a process that does nothing else, so each precision is a run of its own. Prints one JSON object.
"""
import argparse
import json
import os
import resource
import statistics
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("peers")
parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--windows", type=int, default=8)
parser.add_argument("--runs", type=int, default=3)
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)
sys.path.insert(0, args.peers)

import torch  # noqa: E402

from lewm_model import build  # noqa: E402

FRAMES = 4
torch.set_num_threads(args.threads)
model = build().train()
imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=1e-3)
pixels, action = torch.randn(args.windows, FRAMES, 3, 224, 224), torch.randn(args.windows, FRAMES, 10)
directions = torch.randn(192, 1024)
knots = torch.linspace(0, 3, 17)
gauss = torch.exp(-0.5 * knots**2)
trapezoid = torch.full_like(knots, 2 * 3 / 16)
trapezoid[0] = trapezoid[-1] = 3 / 16


def sigreg(latents):
    along = (latents.transpose(0, 1) @ (directions / directions.norm(dim=0))).unsqueeze(-1) * knots
    error = (along.cos().mean(-3) - gauss) ** 2 + along.sin().mean(-3) ** 2
    return ((error @ (trapezoid * gauss)) * latents.shape[0]).mean()


def step():
    # what is autocast is the model; losses are f32, as ours are
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
        info = model.encode({"pixels": pixels, "action": action})
        predicted = model.predict(info["emb"][:, : FRAMES - 1], info["act_emb"][:, : FRAMES - 1])
    latents, predicted = info["emb"].float(), predicted.float()
    loss = ((predicted - latents[:, 1:]) ** 2).mean() + 0.09 * sigreg(latents)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


step()
step()
times = []
for _ in range(args.runs):
    start = time.perf_counter()
    step()
    times.append((time.perf_counter() - start) * 1e3)
print(json.dumps({
    "name": f"training step {args.windows} windows x {FRAMES} frames torch {args.precision}",
    "median_ms": round(statistics.median(times), 1),
    "min_ms": round(min(times), 1),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
    "imported_mb": imported // 1000,
    "torch": torch.__version__,
}))
