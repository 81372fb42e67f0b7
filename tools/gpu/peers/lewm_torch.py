"""LeWM for inference in plain PyTorch, as a user would write it: the peer of tools/gpu/check-all.

The arithmetic of the official implementation, whose packages a bare machine does not have: every window is predicted
anew, nothing is cached between steps, the library's own attention and linear layers. Parameters are named as in the
published files, so that its results can be compared with golden vectors: python3 lewm_torch.py SHARED/golden/lewm/tiny
"""
import dataclasses
import json
import pathlib
import sys

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


@dataclasses.dataclass
class Sizes:
    """The published model's."""
    image: int = 224
    patch: int = 14
    width: int = 192        # of the encoder
    layers: int = 12
    heads: int = 3
    encoder_mlp: int = 768
    latent: int = 192       # of the predictor as well: no projections between
    depth: int = 6
    predictor_heads: int = 16
    head_dim: int = 64
    predictor_mlp: int = 2048
    window: int = 3
    action: int = 10        # one block
    smoothed: int = 10
    head_mlp: int = 2048    # projector and pred_proj


def split_heads(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)  # [..., tokens, heads dim] -> [..., heads, tokens, dim]


class EncoderLayer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads = s.heads
        self.layernorm_before = nn.LayerNorm(s.width, eps=1e-12)
        self.layernorm_after = nn.LayerNorm(s.width, eps=1e-12)
        self.query, self.key, self.value, self.out = (nn.Linear(s.width, s.width) for _ in range(4))
        self.up, self.down = nn.Linear(s.width, s.encoder_mlp), nn.Linear(s.encoder_mlp, s.width)
        self.act = nn.GELU()

    def forward(self, x):
        n = self.layernorm_before(x)
        q, k, v = (split_heads(part(n), self.heads) for part in (self.query, self.key, self.value))
        x = x + self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(self.act(self.up(self.layernorm_after(x))))


class Encoder(nn.Module):
    def __init__(self, s):
        super().__init__()
        patches = (s.image // s.patch) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, s.width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, patches + 1, s.width))
        self.projection = nn.Conv2d(3, s.width, s.patch, s.patch)
        self.layer = nn.ModuleList(EncoderLayer(s) for _ in range(s.layers))
        self.layernorm = nn.LayerNorm(s.width, eps=1e-12)

    def forward(self, pixels):  # [frames, 3, image, image], normalised -> [frames, width]
        x = self.projection(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], 1) + self.position_embeddings
        for layer in self.layer:
            x = layer(x)
        return self.layernorm(x)[:, 0]


class PredictorBlock(nn.Module):
    def __init__(self, s):
        super().__init__()
        inner = s.predictor_heads * s.head_dim
        self.heads = s.predictor_heads
        self.bare = nn.LayerNorm(s.latent, eps=1e-6, elementwise_affine=False)
        self.attn_norm, self.mlp_norm = nn.LayerNorm(s.latent), nn.LayerNorm(s.latent)
        self.to_qkv = nn.Linear(s.latent, 3 * inner, bias=False)
        # one head as wide as the model needs no projection
        plain = s.predictor_heads == 1 and s.head_dim == s.latent
        self.to_out = nn.Identity() if plain else nn.Linear(inner, s.latent)
        self.up, self.down = nn.Linear(s.latent, s.predictor_mlp), nn.Linear(s.predictor_mlp, s.latent)
        self.modulation = nn.Linear(s.latent, 6 * s.latent)
        self.silu, self.gelu = nn.SiLU(), nn.GELU()

    def forward(self, x, c):
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(self.silu(c)).chunk(6, -1)
        n = self.attn_norm(self.bare(x) * (1 + scale_a) + shift_a)
        q, k, v = (split_heads(part, self.heads) for part in self.to_qkv(n).chunk(3, -1))
        attended = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + gate_a * self.to_out(attended)
        n = self.mlp_norm(self.bare(x) * (1 + scale_m) + shift_m)
        return x + gate_m * self.down(self.gelu(self.up(n)))


class Head(nn.Sequential):
    def __init__(self, s):
        super().__init__(nn.Linear(s.latent, s.head_mlp), nn.BatchNorm1d(s.head_mlp), nn.GELU(),
                         nn.Linear(s.head_mlp, s.latent))


class LeWM(nn.Module):
    def __init__(self, s=Sizes()):
        super().__init__()
        self.sizes = s
        self.encoder = Encoder(s)
        self.projector, self.pred_proj = Head(s), Head(s)
        self.smooth = nn.Linear(s.action, s.smoothed)  # a convolution of one tap
        self.embed = nn.Sequential(nn.Linear(s.smoothed, 4 * s.latent), nn.SiLU(), nn.Linear(4 * s.latent, s.latent))
        self.pos_embedding = nn.Parameter(torch.zeros(1, s.window, s.latent))
        self.blocks = nn.ModuleList(PredictorBlock(s) for _ in range(s.depth))
        self.norm = nn.LayerNorm(s.latent)
        self.eval()

    def encode(self, pixels):
        return self.projector(self.encoder(pixels))

    def act(self, actions):  # [rows, time, action] -> [rows, time, latent]
        return self.embed(self.smooth(actions))

    def predict(self, x, c):  # windows of latents and of encoded actions -> the latents after them
        x = x + self.pos_embedding[:, : x.shape[1]]
        for block in self.blocks:
            x = block(x, c)
        x = self.norm(x)
        return self.pred_proj(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def cost(self, context, goal, candidates):
        """context [B, H, latent], goal [B, latent], candidates [B, S, H - 1 + T, action] -> [B, S]"""
        B, S, total, _ = candidates.shape
        H = context.shape[1]
        c = self.act(candidates.flatten(0, 1))
        z = [context[:, None, t].expand(-1, S, -1).flatten(0, 1) for t in range(H)]
        for upper in range(H, total + 1):
            low = max(0, upper - self.sizes.window)
            z.append(self.predict(torch.stack(z[low:], 1), c[:, low:upper])[:, -1])
        return (z[-1].unflatten(0, (B, S)) - goal[:, None]).float().square().sum(-1)


def random_model(seed=0):
    torch.manual_seed(seed)
    model = LeWM()
    for name, value in model.named_parameters():
        if "modulation" in name or name.startswith("encoder") and value.ndim > 1:
            nn.init.normal_(value, std=0.02)
    nn.init.normal_(model.pos_embedding)
    return model


# ours -> the published name
RENAMED = [("encoder.cls_token", "encoder.embeddings.cls_token"),
           ("encoder.position_embeddings", "encoder.embeddings.position_embeddings"),
           ("encoder.projection.", "encoder.embeddings.patch_embeddings.projection."),
           ("encoder.layer.", "encoder.encoder.layer."), (".query.", ".attention.attention.query."),
           (".key.", ".attention.attention.key."), (".value.", ".attention.attention.value."),
           ("smooth.", "action_encoder.patch_embed."), ("embed.", "action_encoder.embed."),
           ("pos_embedding", "predictor.pos_embedding"), ("blocks.", "predictor.transformer.layers."),
           (".attn_norm.", ".attn.norm."), (".mlp_norm.", ".mlp.net.0."), (".to_qkv.", ".attn.to_qkv."),
           (".to_out.", ".attn.to_out.0."), (".modulation.", ".adaLN_modulation.1."), ("projector.", "projector.net."),
           ("pred_proj.", "pred_proj.net.")]


def published(name):
    inside = "encoder" if name.startswith("encoder.layer.") else "predictor"
    for ours, theirs in RENAMED:
        if ours.startswith(".") and ours in name or name.startswith(ours):
            name = name.replace(ours, theirs, 1)
    places = {"encoder": {".out.": ".attention.output.dense.", ".up.": ".intermediate.dense.",
                          ".down.": ".output.dense."},
              "predictor": {".up.": ".mlp.net.1.", ".down.": ".mlp.net.4."}}[inside]
    for ours, theirs in places.items():
        name = name.replace(ours, theirs)
    return "predictor.transformer." + name if name.startswith("norm.") else name


def load(model, tensors):
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(tensors[published(name)].reshape(value.shape))
    return model


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    kinds = {"F32": torch.float32, "I64": torch.int64, "U8": torch.uint8, "I32": torch.int32}
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        a, b = (start + at for at in entry["data_offsets"])
        tensors[name] = torch.frombuffer(bytearray(data[a:b]), dtype=kinds[entry["dtype"]]).reshape(entry["shape"])
    return tensors


@torch.inference_mode()
def compare_with_golden(folder):
    """Largest differences to the recorded results of the official implementation, on the tiny model."""
    folder = pathlib.Path(folder)
    tiny = Sizes(image=56, width=48, layers=3, encoder_mlp=192, latent=48, depth=2, predictor_heads=4, head_dim=16,
                 predictor_mlp=96, head_mlp=96)
    model = load(LeWM(tiny), torch.load(folder / "weights_v4keys.pt", weights_only=True))
    e = read_safetensors(folder / "expect.safetensors")
    rollout = read_safetensors(folder / "rollout_history.safetensors")
    emb = model.encode(e["pixels"].flatten(0, 1)).unflatten(0, e["pixels"].shape[:2])
    act = model.act(e["action"])
    history = e["action_history"][:, None].expand(-1, e["candidates"].shape[1], -1, -1)
    goal = rollout["goal_emb"][:, -1]
    found = {"emb": emb - e["emb"], "act_emb": act - e["act_emb"], "pred": model.predict(e["emb"], e["act_emb"]) - e["pred"],
             "cost_h1": model.cost(e["emb"][:, :1], goal, e["candidates"]) / rollout["cost_h1"] - 1,
             "cost_h3": model.cost(e["emb"], goal, torch.cat([history, e["candidates"]], 2)) / rollout["cost_h3"] - 1}
    return {name: difference.abs().max().item() for name, difference in found.items()}


if __name__ == "__main__":
    differences = compare_with_golden(sys.argv[1])
    print(json.dumps(differences))
    sys.exit(0 if max(differences.values()) < 5e-5 else 1)  # float32 against float64, values up to 4
