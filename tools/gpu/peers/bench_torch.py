"""Times LeWM in PyTorch on a CUDA device, for tools/gpu/check-all: eager and torch.compile, f32 and bf16.

usage: python3 bench_torch.py [--device cuda] [--minutes 8] [--only encode,icem,cem,envs,train] [--json out.json] [--tiny]

Figures are medians of synchronised wall time in milliseconds. f32 has TF32 switched off. bf16 is run as autocast, which
is what the published scripts do, and with the weights themselves in bf16, which is as fast as PyTorch gets. What does not
fit into the time given is left out, least important last. Encoding begins with normalised floats on the device, which
is less than the native program does; so does a training step, which has no dropout here either. --tiny: sizes for a look whether this runs at all, on any device.
"""
import argparse
import contextlib
import json
import statistics
import time

import torch

from lewm_torch import random_model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--device", default="cuda")
parser.add_argument("--minutes", type=float, default=8.0)
parser.add_argument("--only", default="encode,icem,cem,envs,train")
parser.add_argument("--json")
parser.add_argument("--tiny", action="store_true")
args = parser.parse_args()

started = time.monotonic()
only = set(args.only.split(","))
device = torch.device(args.device)
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
HORIZON, ACTION = 5, 10

results = {"torch": torch.__version__, "cuda": torch.version.cuda,
           "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}


def left():
    return args.minutes * 60 - (time.monotonic() - started)


def synchronize():
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(name, run, needs_s=5.0, longest_s=3.0):
    """Median over what fits into longest_s after two calls to warm up; a peer that cannot do it is recorded."""
    if left() < needs_s:
        results[name] = "left out: no time"
        return
    try:
        begun = time.monotonic()
        for _ in range(2):
            run()
            synchronize()
        warm = time.monotonic() - begun
        times = []
        begun = time.monotonic()
        while len(times) < 3 or time.monotonic() - begun < longest_s and len(times) < 200:
            synchronize()
            start = time.perf_counter()
            run()
            synchronize()
            times.append((time.perf_counter() - start) * 1e3)
            if left() < 0:
                break
    except Exception as error:
        results[name] = repr(error)[:300]
        print(f"{name}: {error!r}"[:300], flush=True)
        return
    results[name] = {"median_ms": round(statistics.median(times), 4), "min_ms": round(min(times), 4),
                     "runs": len(times), "warm_up_s": round(warm, 1)}
    print(f"{name:60s} median {statistics.median(times):10.3f} ms   min {min(times):10.3f} ms", flush=True)


def compiled(function):
    # one CUDA graph a call where there is a device: its strongest mode
    return torch.compile(function, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else "default")


def coloured(noise, beta=2.0):
    """noise [B, S, D, T] white -> correlated over T, each sequence of unit spread, as [B, S, T, D]"""
    T = noise.shape[-1]
    f = torch.fft.rfftfreq(T, device=noise.device)
    f[0] = 1
    gain = f ** (-beta / 2)
    gain[0] = gain[1]
    x = torch.fft.irfft(torch.fft.rfft(noise) * gain, n=T)
    return (x / x.std(-1, keepdim=True).clamp_min(1e-8)).transpose(2, 3)


class Planner:
    """The published planners on the device: nothing is brought to the host before the end."""

    def __init__(self, encode, cost, pixels, samples, iterations, dtype, environments=1):
        self.encode, self.cost, self.pixels, self.dtype = encode, cost, pixels, dtype
        self.samples, self.iterations, self.environments = samples, iterations, environments
        self.elites = 30

    def costs(self, context, goal, x):
        return self.cost(context, goal, x.to(self.dtype).contiguous()).float()

    def begin(self):
        latents = self.encode(self.pixels).clone()
        B = self.environments
        mean = torch.zeros(B, HORIZON, ACTION, device=device)
        return latents[:B, None], latents[B:], mean, torch.ones_like(mean)

    def best(self, x, cost):
        order = cost.topk(self.elites, dim=1, largest=False).indices
        return x.gather(1, order[..., None, None].expand(-1, -1, HORIZON, ACTION))

    def cem(self):
        context, goal, mean, std = self.begin()
        for _ in range(self.iterations):
            x = mean[:, None] + std[:, None] * torch.randn(self.environments, self.samples, HORIZON, ACTION, device=device)
            x[:, 0] = mean
            elites = self.best(x, self.costs(context, goal, x))
            mean, std = elites.mean(1), elites.std(1)
        return mean.cpu()

    def icem(self, keep=5, alpha=0.1):
        context, goal, mean, std = self.begin()
        elites = None
        for _ in range(self.iterations):
            noise = torch.randn(self.environments, self.samples, ACTION, HORIZON, device=device)
            x = mean[:, None] + std[:, None] * coloured(noise)
            x[:, 0] = mean
            if elites is not None:
                x[:, 1 : 1 + keep] = elites[:, :keep]
            x = x.clamp(-1, 1)
            elites = self.best(x, self.costs(context, goal, x))
            mean = alpha * mean + (1 - alpha) * elites.mean(1)
            std = alpha * std + (1 - alpha) * elites.std(1)
        return mean.cpu()


def training_step(windows, autocast, fast, frames=4):
    """The published step: both losses, gradient clipped at 1, fused AdamW; floats of pixels on the device already."""
    model = random_model().to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=1e-3, fused=device.type == "cuda")
    pixels = torch.randn(windows * frames, 3, 224, 224, device=device)
    actions = torch.randn(windows, frames, ACTION, device=device)
    knots = torch.linspace(0, 3, 17, device=device)
    gauss = torch.exp(-0.5 * knots**2)
    trapezoid = torch.full_like(knots, 2 * 3 / 16)
    trapezoid[0] = trapezoid[-1] = 3 / 16

    def loss_of(pixels, actions, directions):
        with autocast:
            latents = model.encode(pixels).unflatten(0, (windows, frames))
            predicted = model.predict(latents[:, :-1], model.act(actions[:, :-1]))
        latents, predicted = latents.float(), predicted.float()
        along = (latents.transpose(0, 1) @ (directions / directions.norm(dim=0))).unsqueeze(-1) * knots
        error = (along.cos().mean(1) - gauss) ** 2 + along.sin().mean(1) ** 2
        return ((predicted - latents[:, 1:]) ** 2).mean() + 0.09 * ((error @ (trapezoid * gauss)) * windows).mean()

    forward = torch.compile(loss_of, dynamic=False) if fast else loss_of

    def step():
        optimiser.zero_grad(set_to_none=True)
        forward(pixels, actions, torch.randn(192, 1024, device=device)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def training(windows):
    for name, cast in (("bf16", torch.autocast(device.type, dtype=torch.bfloat16)), ("f32", contextlib.nullcontext())):
        for fast in (False, True):
            # built when its turn comes: activations of one way fill half of the memory
            held = {}

            def step():
                if not held:
                    held["run"] = training_step(windows, cast, fast)
                held["run"]()

            timed(f"cuda train {windows} windows {name} torch{'.compile' if fast else ''}", step,
                  needs_s=60.0 if fast and not args.tiny else 10.0)
            torch._dynamo.reset()


@torch.inference_mode()
def main():
    frames, icem_samples, cem_samples, cem_iterations, environments = 256, 1024, 300, 30, 50
    if args.tiny:
        frames, icem_samples, cem_samples, cem_iterations, environments = 2, 40, 30, 2, 2
    model = random_model().to(device)
    half = random_model().to(device).bfloat16()
    autocast = torch.autocast(device.type, dtype=torch.bfloat16)
    plain = contextlib.nullcontext()
    # (name, model, dtype of its inputs, context, compiled)
    ways = [("bf16 torch autocast", model, torch.float32, autocast, False),
            ("bf16 torch", half, torch.bfloat16, plain, False),
            ("f32 torch", model, torch.float32, plain, False),
            ("bf16 torch.compile", half, torch.bfloat16, plain, True),
            ("f32 torch.compile", model, torch.float32, plain, True)]

    def pixels(count, dtype):
        return torch.randn(count, 3, 224, 224, device=device).to(dtype)

    def planner(way, samples, iterations, batch=1):
        _, m, dtype, _, fast = way
        encode, cost = (compiled(m.encode), compiled(m.cost)) if fast else (m.encode, m.cost)
        return Planner(encode, cost, pixels(2 * batch, dtype), samples, iterations, dtype, batch)

    def every(name, work, only_ways=None, needs_s=5.0):
        for way in ways:
            if only_ways is not None and way[0] not in only_ways:
                continue
            with way[3]:
                # compiling takes its time (a rollout a minute and more): begun only when it can end
                slow = 100.0 if name.startswith("plan") else 30.0
                timed(f"cuda {name} {way[0]}", work(way), needs_s=slow if way[4] and not args.tiny else needs_s)
            torch._dynamo.reset()

    def encode(count):
        def work(way):
            x = pixels(count, way[2])
            run = compiled(way[1].encode) if way[4] else way[1].encode
            return lambda: run(x)
        return work

    if "encode" in only:
        every("encode 1 frame", encode(1))
        every(f"encode {frames} frames", encode(frames), ("bf16 torch autocast", "bf16 torch", "bf16 torch.compile"))
    if "icem" in only:
        every(f"plan icem {icem_samples}x5", lambda way: planner(way, icem_samples, 5).icem)
    if "cem" in only:
        every(f"plan cem {cem_samples}x{cem_iterations}", lambda way: planner(way, cem_samples, cem_iterations).cem)
    if "envs" in only:
        every(f"plan cem {cem_samples}x{cem_iterations} {environments} environments",
              lambda way: planner(way, cem_samples, cem_iterations, environments).cem,
              ("bf16 torch", "bf16 torch autocast"), needs_s=20.0)
    if "train" in only:
        with torch.inference_mode(False):
            training(2 if args.tiny else 128)
    if device.type == "cuda":
        results["peak_memory_bytes"] = torch.cuda.max_memory_allocated()


main()
if args.json:
    with open(args.json, "w") as file:
        json.dump(results, file, indent=1)
