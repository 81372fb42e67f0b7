"""Loads what `orrery convert` writes with the official code, strictly, and compares every value.

    weights.py ORRERY MODEL_FOLDER

Exit code 77 (skipped) without torch, hydra or stable_worldmodel.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as home:
    os.environ["STABLEWM_HOME"] = home
    try:
        import torch
        from safetensors.torch import load_file
        from stable_worldmodel.wm.utils import load_pretrained
    except ImportError as error:
        print(f"skipped: {error}")
        sys.exit(77)
    orrery, model = sys.argv[1], Path(sys.argv[2])
    folder = Path(home) / "checkpoints" / "ours"
    for names in ("transformers5", "released"):
        target = folder / f"{names}.pt"
        subprocess.run([orrery, "convert", "--model", model, "--output", target, "--names", names], check=True)
        torch.load(target, weights_only=True)
    # load_state_dict is strict: a missing, unexpected or wrongly shaped tensor raises
    loaded = load_pretrained("ours/transformers5.pt", cache_dir=home).state_dict()
    ours = load_file(model / "weights.safetensors")
    released = torch.load(folder / "released.pt", weights_only=True)
    assert ours.keys() == released.keys()
    assert all(torch.equal(ours[name], released[name]) for name in ours)
    assert len(loaded) == len(ours)
    total = sum(value.double().abs().sum().item() for value in loaded.values())
    expected = sum(value.double().abs().sum().item() for value in ours.values())
    assert abs(total - expected) <= 1e-9 * expected, (total, expected)
    print(f"ok     {len(loaded)} tensors loaded strictly by the official code")
