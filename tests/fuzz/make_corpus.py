#!/usr/bin/env python3
"""Writes the seed corpus of the fuzz targets: corpus/<target>/<file>, a few kilobytes each.

Needs numpy, pillow, safetensors, torch and h5py. The files are committed; run it again only to add seeds.
"""

import io
import json
import pathlib
import pickle
import struct
import zipfile

import numpy
import torch
from PIL import Image
from safetensors.numpy import save as save_safetensors

CORPUS = pathlib.Path(__file__).parent / "corpus"


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def ramp(*shape, dtype=numpy.float32):
    return numpy.arange(int(numpy.prod(shape))).reshape(shape).astype(dtype)


def safetensors():
    put("safetensors", "two", save_safetensors({"a.weight": ramp(2, 3), "n": numpy.array(5)},
                                               {"format": "pt"}))
    put("safetensors", "empty", save_safetensors({}))
    put("safetensors", "types", save_safetensors({
        str(numpy.dtype(t)): ramp(2, dtype=t)
        for t in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}))
    header = json.dumps({"b": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]},
                         "z": {"dtype": "F32", "shape": [0, 4], "data_offsets": [4, 4]}}).encode()
    put("safetensors", "bf16", struct.pack("<Q", len(header)) + header + b"\0\0\x80\x3f")
    put("safetensors", "huge_length", struct.pack("<Q", 2**63) + b"{}")


def recording_part():
    def frame(data):
        # a Blosc 1 frame whose bytes are stored as they are: version, its codec's, flags, type size
        return struct.pack("<BBBBIII", 2, 1, 2, 1, len(data), len(data), len(data) + 16) + data

    def episode(rows, reached):
        columns = b"".join(struct.pack("<Q", len(frame(bytes(rows * width)))) +
                           frame(bytes(rows * width)) for width in (48, 8, 8))
        return struct.pack("<qq", rows, reached) + columns

    put("recording_part", "none", b"\0OrrPart1")
    put("recording_part", "one", b"\1OrrPart1" + episode(3, 1))
    put("recording_part", "two", b"\2OrrPart1" + episode(1, 0) + episode(2, 1))
    put("recording_part", "too_many_rows", b"\1OrrPart1" + struct.pack("<qq", 2**62, 0))
    put("recording_part", "short_frame", b"\1OrrPart1" + episode(2, 0)[:40])


def npz():
    def npy(array, version=None):
        out = io.BytesIO()
        numpy.lib.format.write_array(out, array, version)
        return out.getvalue()

    put("npy", "matrix", npy(ramp(2, 3)))
    put("npy", "column_major", npy(numpy.asfortranarray(ramp(2, 3, dtype="u1"))))
    put("npy", "version_2", npy(ramp(3, dtype="i8"), (2, 0)))
    put("npy", "scalar", npy(numpy.array(True)))
    put("npy", "text", npy(numpy.array(["ab", "c"])))
    put("npy", "record", npy(numpy.zeros(1, dtype=[("a", "f4"), ("b", "i2")])))
    for name, save in (("stored", numpy.savez), ("deflated", numpy.savez_compressed)):
        out = io.BytesIO()
        save(out, a=ramp(2, 2), b=ramp(3, dtype="u1"))
        put("npz", name, out.getvalue())


def torch_files():
    torch.manual_seed(0)
    def saved(value):
        out = io.BytesIO()
        torch.save(value, out)
        return out.getvalue()

    weight = torch.from_numpy(ramp(2, 3).copy())
    linear = torch.nn.Linear(2, 1)
    state = {
        "plain": {"w": weight, "n": torch.tensor(3)},
        "ordered": torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1)).state_dict(),
        "views": {"t": weight.t(), "row": weight[1], "same": weight, "spread": weight[0].expand(4, 3),
                  "none": weight[:0], "p": torch.nn.Parameter(weight)},
        "lightning": {"epoch": 1, "loops": {"fit": [None, True, 1.5, (1, 2)]}, "big": 2**80,
                      "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}}],
                      "state_dict": {"model.w": weight.half()}},
        "wrapped": {"model": {"w": weight.to(torch.bfloat16)}, "name": "x"},
        "module": linear,
        "unsigned": {"w": torch.tensor([1, 2], dtype=torch.uint16)},
    }
    for name, value in state.items():
        data = saved(value)
        put("torch", name, data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = next(m for m in archive.namelist() if m.endswith("/data.pkl"))
            put("pickle", name, archive.read(member))
    for protocol in (2, 4, 5):
        put("pickle", f"values_{protocol}", pickle.dumps(
            {"a": [1, -1, 300, 70000, 2**40, -(2**70)], "b": (None, True, 1.5, b"x", "y" * 300),
             "c": {1, 2}, "d": frozenset([3]), "e": complex(1, 2), "f": bytearray(b"z")}, protocol))


def images():
    rgb = Image.fromarray(ramp(5, 7, 3, dtype="u1"))
    grey16 = Image.fromarray(ramp(4, 4, dtype="u2") * 4000)

    def saved(image, **options):
        out = io.BytesIO()
        image.save(out, **options)
        return out.getvalue()

    put("image", "rgb.png", saved(rgb, format="PNG"))
    put("image", "grey.png", saved(rgb.convert("L"), format="PNG"))
    put("image", "grey16.png", saved(grey16, format="PNG"))
    put("image", "alpha.png", saved(rgb.convert("RGBA"), format="PNG"))
    put("image", "palette.png", saved(rgb.convert("P"), format="PNG"))
    put("image", "transparent.png", saved(rgb.convert("P"), format="PNG", transparency=1))
    put("image", "bits.png", saved(rgb.convert("1"), format="PNG"))
    put("image", "rgb.jpg", saved(rgb, format="JPEG"))
    put("image", "grey.jpg", saved(rgb.convert("L"), format="JPEG"))
    put("image", "progressive.jpg", saved(rgb, format="JPEG", progressive=True))
    put("image", "cmyk.jpg", saved(rgb.convert("CMYK"), format="JPEG"))


def records():
    record = {"index": 1, "row": 13, "episode": 2, "step": 3, "success": True, "already_solved": False, "steps": 2,
              "reached_at": 2, "random_success": False, "distances": [5, 4, 0.1], "states": [[0, 0], [1, 0], [1, 0.3]],
              "actions": [[1, 0], [0, "nan"]],
              "plans": [{"step": 0, "ms": 1.5, "cost": "inf", "trace": {"best_cost": [3, 2]}, "surprise": [0.5],
                         "goal_distance": [1, 2]}]}
    put("records", "whole", json.dumps(record).encode())
    put("records", "short", json.dumps({**record, "steps": 3}).encode())
    put("records", "negative", json.dumps({**record, "index": -1}).encode())
    put("records", "huge", json.dumps({**record, "steps": 2 ** 64 - 1}).encode())
    put("records", "mixed", json.dumps({**record, "states": [[0], 7, [None]]}).encode())


def json_texts():
    put("json", "config", json.dumps({"_target_": "a.B", "size": 3, "rate": 1e-3, "act": None,
                                      "mlp": {"norm_fn": {"_partial_": True}}, "dims": [1, -2]}).encode())
    put("json", "deep", b"[" * 100 + b"]" * 100)
    put("json", "twice", b'{"a": 1, "a": 2}')
    put("json", "text", '"\\u00e9\\ud83d\\ude00\u00e9"'.encode())


def tables():
    """Needs pyarrow and numcodecs. io/parquet_test.cpp reads the Parquet files, too."""
    import numcodecs
    import pyarrow
    import pyarrow.parquet

    n = 40
    table = pyarrow.table({
        "state": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(ramp(2 * n) / 4), 2),
        "action": pyarrow.array([list(numpy.arange(3) * i * 0.5) for i in range(n)]),
        "index": pyarrow.array(numpy.arange(n)),
        "small": pyarrow.array((numpy.arange(n) % 3).astype(numpy.int32)),
        "done": pyarrow.array([i % 7 == 0 for i in range(n)]),
        "reward": pyarrow.array([None if i % 5 == 0 else i / 2 for i in range(n)], pyarrow.float64()),
        "task": pyarrow.array(["push"] * n),
        "ragged": pyarrow.array([[1] * (i % 3) for i in range(n)]),
        # as LeRobot embeds pictures: a file's bytes and its name; some are missing
        "picture": pyarrow.array([None if i % 9 == 4 else {"bytes": bytes([i]) * (i % 4 + 1), "path": f"{i % 2}.png"}
                                  for i in range(n)]),
    })
    for name, settings in {
        "snappy": {"compression": "snappy"},
        "zstd_v2": {"compression": "zstd", "data_page_version": "2.0"},
        "plain": {"compression": "none", "use_dictionary": False, "row_group_size": 13},
        "gzip_v2_plain": {"compression": "gzip", "data_page_version": "2.0", "use_dictionary": False},
    }.items():
        out = io.BytesIO()
        pyarrow.parquet.write_table(table, out, store_schema=False, write_statistics=False, **settings)
        put("parquet", name, out.getvalue())

    values = ramp(300)
    for codec in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
        for shuffle in (0, 1, 2):
            frame = bytes(numcodecs.Blosc(codec, 5, shuffle).encode(values))
            put("blosc", f"{codec}{shuffle}", struct.pack(">H", values.nbytes) + frame)

    about = {"zarr_format": 2, "shape": [25650, 96, 96, 3], "chunks": [161, 96, 96, 3], "dtype": "<f4",
             "compressor": {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 2, "blocksize": 0},
             "fill_value": 0.0, "filters": None, "order": "C"}
    for name, other in {
        "frames": {},
        "ends": {"shape": [206], "chunks": [208], "dtype": "<i8", "fill_value": 0},
        "cut": {"chunks": [7, 50, 50, 2], "dtype": "|u1", "fill_value": 255, "compressor": None,
                "dimension_separator": "/"},
        "infinite": {"fill_value": "-Infinity", "compressor": {"id": "zlib", "level": 3}},
        "flags": {"dtype": "|b1", "fill_value": True, "compressor": {"id": "zstd", "level": 3}},
    }.items():
        put("zarr", name, json.dumps({**about, **other}).encode())


    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {"level": 3}}]
    about = {"zarr_format": 3, "node_type": "array", "shape": [5, 4], "data_type": "int16",
             "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
             "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
             "fill_value": -7, "attributes": {}, "storage_transformers": [], "codecs": codecs}
    put("zarr", "third", json.dumps(about).encode())
    put("zarr", "third_bits", json.dumps({**about, "data_type": "float32", "fill_value": "0x7fc00001"}).encode())
    shards = {"chunk_shape": [2, 2], "codecs": codecs, "index_codecs": codecs[:1], "index_location": "start"}
    shards = json.dumps({**about, "codecs": [{"name": "sharding_indexed", "configuration": shards}]}).encode()
    put("zarr", "third_shards", shards + b"\0" + struct.pack("<8Q", 64, 5, 69, 3, 2**64 - 1, 2**64 - 1, 0, 2**63) + b"\1" * 8)


def hdf5():
    import h5py

    for name, settings in {
        "filtered": {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (4, 3, 3)},
        "lzf_cut": {"compression": "lzf", "chunks": (3, 2, 3)},
        "whole_swapped": {"dtype": ">f4"},
    }.items():
        out = io.BytesIO()
        with h5py.File(out, "w") as f:
            f.create_dataset("pixels", data=ramp(9, 3, 3), **settings)
            f.create_dataset("action", data=ramp(9, 2), compression="gzip", chunks=(9, 1))
            f["ep_len"], f["ep_offset"] = numpy.array([5, 4], "i4"), numpy.array([0, 5])
        put("hdf5", name, out.getvalue())
    out = io.BytesIO()
    with h5py.File(out, "w") as f:
        for number, rows in ((0, 5), (10, 4)):
            group = f.create_group(f"data/demo_{number}")
            group["actions"], group["obs/joint"] = ramp(rows, 2), ramp(rows, 3)
            group.create_dataset("obs/eye", data=ramp(rows, 2, 2, 3, dtype="u1"), compression="gzip")
        f["data/again"] = f["data"]
    put("hdf5", "robomimic", out.getvalue())


if __name__ == "__main__":
    safetensors()
    recording_part()
    npz()
    torch_files()
    images()
    json_texts()
    records()
    tables()
    hdf5()
