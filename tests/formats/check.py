"""Records a few episodes, converts them into every format, and reads each with the library that others use.

    check.py ORRERY

Exit code 77 (skipped) without numpy and h5py; other libraries that are missing leave out what needs them.
"""

import importlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")


def library(name):
    try:
        return importlib.import_module(name)
    except Exception:  # a library may fail in many ways when it is only half there
        print(f"left out: {name} cannot be imported")
        return None


np = library("numpy")
h5py = library("h5py")
plugin = library("hdf5plugin")
if not np or not h5py:
    sys.exit(77)

ORRERY = sys.argv[1]
failures = 0


def orrery(*arguments):
    done = subprocess.run([ORRERY, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"orrery {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def expect(holds, what):
    global failures
    if not holds:
        failures += 1
    print(f"{'ok    ' if holds else 'FAILED'} {what}")


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def read_h5(path):
    with h5py.File(path, "r") as f:
        return {name: f[name][:] for name in f}


def rows_of(columns):
    return {k: v for k, v in columns.items() if k not in ("ep_len", "ep_offset")}


def expect_rows(columns, truth, what, but=()):
    bad = [k for k, v in rows_of(truth).items() if k not in but and not (k in columns and same(columns[k], v))]
    expect(not bad, f"{what}{': ' + ', '.join(bad) if bad else ''}")


def check_hdf5(folder, truth):
    for name, options in (
        ("current.h5", ["--layout", "current"]),
        ("earliest.h5", ["--earliest"]),
        *((f"{codec}_{shuffle}.h5", ["--codec", codec, "--shuffle", shuffle])
          for codec in ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd") for shuffle in ("none", "byte", "bit")),
    ):
        orrery("data", "convert", folder / "plain.h5", folder / name, *options)
        if plugin or name == "current.h5":
            try:
                expect_rows(read_h5(folder / name), truth, f"h5py reads {name}")
            except OSError as error:
                # hdf5plugin is built without snappy on some systems
                expect("snappy" in name, f"h5py reads {name}: {error}")


def check_hdf5_indexes(folder, truth):
    """Files of others: every index of chunks that the library has, at every bound of the format that we can read."""
    pixels, rows = truth["pixels"], len(truth["pixels"])
    whole = pixels.shape[1:]
    kinds = {
        "contiguous": {},
        "fixed": {"chunks": (100, *whole)},
        "extensible": {"chunks": (100, *whole), "maxshape": (None, *whole)},
        "tree": {"chunks": (100, *whole), "maxshape": (None, None, *whole[1:])},
        "single": {"chunks": (rows, *whole)},
    }
    for bounds in (("earliest", "latest"), ("v108", "v108"), ("v110", "v110"), ("v112", "v112"), ("v114", "v114")):
        for kind, storage in kinds.items():
            for packed in (False, True):
                if packed and (not plugin or kind == "contiguous"):
                    continue
                name = f"{bounds[0]}_{kind}{'_blosc' if packed else ''}.h5"
                try:
                    with h5py.File(folder / name, "w", libver=bounds) as f:
                        settings = {**storage, **(plugin.Blosc(cname="zstd", shuffle=2) if packed else {})}
                        for k, v in truth.items():
                            f.create_dataset(k, data=v, **(settings if k == "pixels" else {}))
                except ValueError:
                    continue  # this library does not know the bounds
                orrery("data", "convert", folder / name, folder / "back.h5", "--layout", "current")
                expect_rows(read_h5(folder / "back.h5"), truth, f"h5py's {name} is read")


def check_hdf5_filters(folder, truth):
    """Files of others: the filters that h5py has, in chunks of any shape, of numbers of either byte order."""
    rows = len(truth["pixels"])
    shapes = {"whole": (9, *truth["pixels"].shape[1:]), "cut": (7, 50, 40, 2), "row": (1, 96, 96, 1), "wide": (rows, 5, 96, 3)}
    for compression in (None, "gzip", "lzf"):
        for shuffle in (False, True):
            for checked in (False, True):
                for kind, chunks in shapes.items():
                    name = f"{compression}{'_shuffle' * shuffle}{'_fletcher32' * checked}_{kind}.h5"
                    settings = {"compression": compression, "shuffle": shuffle, "fletcher32": checked}
                    with h5py.File(folder / name, "w") as f:
                        for k, v in truth.items():
                            cut = chunks if k == "pixels" else (min(10, len(v)),) + (1,) * (v.ndim - 1)
                            f.create_dataset(k, data=v, chunks=cut, **settings)
                    orrery("data", "convert", folder / name, folder / "back.h5", "--layout", "current")
                    expect_rows(read_h5(folder / "back.h5"), truth, f"h5py's {name} is read")
    for chunks in (None, True):
        with h5py.File(folder / "swapped.h5", "w") as f:
            for k, v in truth.items():
                f.create_dataset(k, data=v, chunks=chunks, dtype=v.dtype.newbyteorder(">"))
        orrery("data", "convert", folder / "swapped.h5", folder / "back.h5", "--layout", "current")
        expect_rows(read_h5(folder / "back.h5"), truth, f"h5py's big-endian file is read, chunks {chunks}")


def check_robomimic(folder, truth):
    """A group for each demonstration, as robomimic writes it, with and without compression."""
    ends = np.cumsum(truth["ep_len"])
    for compression in (None, "gzip", "lzf"):
        name = f"robomimic_{compression}.hdf5"
        with h5py.File(folder / name, "w") as f:
            for e, (begin, end) in enumerate(zip(ends - truth["ep_len"], ends)):
                group = f.create_group(f"data/demo_{e}")
                group.attrs["num_samples"] = int(end - begin)
                for k, column in (("actions", "action"), ("obs/agentview_image", "pixels"), ("obs/pos", "pos_agent"),
                                  ("rewards", "reward"), ("next_obs/pos", "pos_agent")):
                    group.create_dataset(k, data=truth[column][begin:end], compression=compression)
            f["mask/train"] = np.array([b"demo_0", b"demo_1"])
        orrery("data", "convert", folder / name, folder / "back.h5", "--layout", "current")
        expected = {"action": truth["action"], "pixels": truth["pixels"], "pos": truth["pos_agent"],
                    "rewards": truth["reward"], "ep_len": truth["ep_len"]}
        expect_rows(read_h5(folder / "back.h5"), expected, f"h5py's {name} is read")


def check_official(folder, truth):
    try:
        from stable_worldmodel.data.format import get_format
    except Exception:
        print("left out: stable_worldmodel cannot be imported")
        return
    lengths, offsets = truth["ep_len"], truth["ep_offset"]
    files = [("hdf5", "plain.h5"), ("hdf5", "current.h5"), ("hdf5", "earliest.h5"), ("folder", "folder")]
    for kind, name in files:
        data = get_format(kind).open_reader(folder / name, frameskip=5, num_steps=4)
        expected = int(sum(max(0, n - 19) for n in lengths))
        expect(len(data) == expected, f"official reader counts the windows of {name}: {len(data)}")
        for index in {0, len(data) // 2, len(data) - 1}:
            episode, start = data.clip_indices[index]
            row = int(offsets[episode]) + int(start)
            item = data[index]
            action = truth["action"][row : row + 20].reshape(4, -1)
            expect(same(item["action"].numpy(), action), f"official reader: actions of window {index} of {name}")
            pixels = truth["pixels"][row : row + 20 : 5].transpose(0, 3, 1, 2)
            got = item["pixels"].numpy()
            if kind == "hdf5":
                expect(same(got, pixels), f"official reader: pictures of window {index} of {name}")
            else:
                mean = np.abs(got.astype(int) - pixels.astype(int)).mean()
                expect(mean < 3, f"official reader: pictures of window {index} of {name}, off by {mean:.2f} on average")


def check_zarr(folder, truth):
    for name in ("store.zarr", "store.zarr.zip"):
        orrery("data", "convert", folder / "plain.h5", folder / name)
        orrery("data", "convert", folder / name, folder / f"{name}.h5")
        expect_rows(read_h5(folder / f"{name}.h5"), truth, f"{name} and back")
    zarr = library("zarr")
    if not zarr:
        return
    if not zarr.__version__.startswith("2."):
        check_zarr_3(zarr, folder, truth)
    for name in ("store.zarr", "store.zarr.zip"):
        path = folder / name
        third = not zarr.__version__.startswith("2.")
        root = zarr.open(zarr.storage.ZipStore(path) if third and path.suffix == ".zip" else str(path), mode="r")
        columns = {k: root["data"][k][:] for k in rows_of(truth)}
        expect_rows(columns, truth, f"zarr {zarr.__version__} reads {name}")
        expect(same(root["meta"]["episode_ends"][:], np.cumsum(truth["ep_len"].astype(np.int64))), f"ends of {name}")
    if zarr.__version__.startswith("2."):
        import numcodecs

        for compressor in (None, numcodecs.Zlib(3), numcodecs.GZip(3), numcodecs.Zstd(3), numcodecs.Blosc("lz4hc", 3, 0)):
            label = compressor.codec_id if compressor else "plain"
            root = zarr.open(str(folder / f"{label}.zarr"), mode="w")
            for k, v in rows_of(truth).items():
                # chunks that cut pictures, too
                chunks = (7, 50, 50, 2) if k == "pixels" else (7,) + v.shape[1:]
                root.create_dataset(f"data/{k}", data=v, chunks=chunks, compressor=compressor)
            root.create_dataset("meta/episode_ends", data=np.cumsum(truth["ep_len"].astype(np.int64)))
            orrery("data", "convert", folder / f"{label}.zarr", folder / f"{label}.h5")
            expect_rows(read_h5(folder / f"{label}.h5"), truth, f"zarr's own {label} is read")


def check_zarr_3(zarr, folder, truth):
    codecs, stores = zarr.codecs, zarr.storage
    kinds = {
        "plain": {"compressors": None},
        "gzip": {"compressors": codecs.GzipCodec(level=3)},
        "zstd": {"compressors": codecs.ZstdCodec(level=3)},
        "blosc": {"compressors": codecs.BloscCodec(cname="lz4", shuffle="shuffle")},
        "blosc_zstd": {"compressors": codecs.BloscCodec(cname="zstd", shuffle="bitshuffle")},
        "checked": {"compressors": [codecs.ZstdCodec(level=3), codecs.Crc32cCodec()]},
        "dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
        "old_names": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        "shards": {"shards": 4},
        "shards_plain": {"shards": 2, "compressors": None},
    }
    for kind, settings in kinds.items():
        for packed in (False, True):
            name = f"third_{kind}.zarr{'.zip' if packed else ''}"
            store = stores.ZipStore(folder / name, mode="w") if packed else stores.LocalStore(folder / name)
            root = zarr.open_group(store=store, mode="w", zarr_format=3)
            for k, v in rows_of(truth).items():
                # chunks that cut pictures, too
                chunks = (7, 50, 50, 2) if k == "pixels" else (7,) + v.shape[1:]
                options = dict(settings)
                if "shards" in options:
                    options["shards"] = (chunks[0] * options["shards"],) + tuple(
                        c * -(-n // c) for c, n in zip(chunks[1:], v.shape[1:]))
                root.create_array(f"data/{k}", data=v, chunks=chunks, **options)
            root.create_array("meta/episode_ends", data=np.cumsum(truth["ep_len"].astype(np.int64)))
            store.close()
            orrery("data", "convert", folder / name, folder / f"{name}.h5")
            expect_rows(read_h5(folder / f"{name}.h5"), truth, f"zarr {zarr.__version__}'s own {name} is read")


def check_lerobot(folder, truth, films):
    arrow, parquet = library("pyarrow"), library("pyarrow.parquet")
    if not arrow or not parquet or not films:
        return
    lengths = [int(n) for n in truth["ep_len"]]
    frames = read_h5(folder / "films.h5")["pixels"]
    camera = "observation.image"
    state, action = truth["proprio"].astype(np.float32), truth["action"]
    index = np.arange(len(state))
    episode = np.repeat(np.arange(len(lengths)), lengths)
    step = np.concatenate([np.arange(n) for n in lengths])

    def table(rows):
        lists = lambda x: arrow.FixedSizeListArray.from_arrays(arrow.array(x[rows].ravel()), x.shape[1])
        return arrow.table({
            "observation.state": lists(state),
            "action": arrow.array(list(action[rows])),
            "timestamp": arrow.array((step[rows] / 10).astype(np.float32)),
            "frame_index": arrow.array(step[rows]), "episode_index": arrow.array(episode[rows]),
            "index": arrow.array(index[rows]), "task_index": arrow.array(np.zeros(len(step[rows]), np.int64)),
            "next.done": arrow.array(truth["terminated"][rows]),
        })

    info = {"fps": 25, "total_episodes": len(lengths), "total_frames": len(state), "chunks_size": 1000,
            "features": {camera: {"dtype": "video", "shape": list(frames.shape[1:])},
                         "observation.state": {"dtype": "float32", "shape": [state.shape[1]]},
                         "action": {"dtype": "float32", "shape": [action.shape[1]]}}}
    settings = [{"compression": c, "use_dictionary": d, "data_page_version": v}
                for c, d, v in (("snappy", True, "1.0"), ("zstd", False, "2.0"), ("gzip", True, "2.0"), ("none", False, "1.0"))]

    root = folder / "lerobot2"
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    (root / f"videos/chunk-000/{camera}").mkdir(parents=True)
    paths = {"data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
             "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"}
    (root / "meta/info.json").write_text(json.dumps({"codebase_version": "v2.1", **paths, **info}))
    with open(root / "meta/episodes.jsonl", "w") as lines:
        for e, n in enumerate(lengths):
            lines.write(json.dumps({"episode_index": e, "tasks": ["x"], "length": n}) + "\n")
            parquet.write_table(table(episode == e), root / f"data/chunk-000/episode_{e:06d}.parquet",
                                **settings[e % len(settings)], row_group_size=17)
            shutil.copy(folder / f"films/pixels/ep_{e}.mp4", root / f"videos/chunk-000/{camera}/episode_{e:06d}.mp4")
    third = folder / "lerobot3"
    for where in ("meta/episodes/chunk-000", "data/chunk-000", f"videos/{camera}/chunk-000"):
        (third / where).mkdir(parents=True)
    paths = {"data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
             "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"}
    (third / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0", **paths, **info}))
    zeros = [0] * len(lengths)
    parquet.write_table(arrow.table({
        "episode_index": list(range(len(lengths))), "length": lengths, "tasks": [["x"]] * len(lengths),
        f"videos/{camera}/chunk_index": zeros, f"videos/{camera}/file_index": list(range(len(lengths))),
        f"videos/{camera}/from_timestamp": [0.0] * len(lengths),
    }), third / "meta/episodes/chunk-000/file-000.parquet")
    half = len(lengths) // 2
    for i, rows in enumerate((episode < half, episode >= half)):
        parquet.write_table(table(rows), third / f"data/chunk-000/file-{i:03d}.parquet", row_group_size=50)
    for e in range(len(lengths)):
        shutil.copy(folder / f"films/pixels/ep_{e}.mp4", third / f"videos/{camera}/chunk-000/file-{e:03d}.mp4")

    # pictures in the tables: PNG in a record of bytes and a name, one file an episode and one for all
    from PIL import Image

    def png(picture):
        out = io.BytesIO()
        Image.fromarray(picture).save(out, format="PNG")
        return out.getvalue()

    pictures = arrow.array([{"bytes": png(frame), "path": None} for frame in frames])
    info["features"][camera]["dtype"] = "image"
    for name, source in (("lerobot2_images", root), ("lerobot3_images", third)):
        shutil.copytree(source, folder / name)
        shutil.rmtree(folder / name / "videos")
        told = json.loads((source / "meta/info.json").read_text())
        (folder / name / "meta/info.json").write_text(json.dumps({**told, **info}))
        for path in sorted((folder / name / "data").rglob("*.parquet")):
            rows = parquet.read_table(path)
            at = rows.column("index").to_numpy()
            parquet.write_table(rows.append_column(camera, pictures.take(arrow.array(at))), path, row_group_size=40,
                                data_page_size=30000, use_dictionary=source == root)

    for name in ("lerobot2", "lerobot3", "lerobot2_images", "lerobot3_images"):
        orrery("data", "convert", folder / name, folder / f"{name}.h5")
        columns = read_h5(folder / f"{name}.h5")
        expected = {"proprio": state, "action": action, "pixels": frames, "index": index, "ep_idx": episode,
                    "step_idx": step, "next.done": truth["terminated"], "timestamp": (step / 10).astype(np.float32)}
        expect_rows(columns, expected, f"{name}, written by pyarrow {arrow.__version__}, is read")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        orrery("record", "--env", "tworoom", "--policy", "random", "--episodes", 6, "--seed", 5, "--max-steps", 40,
               "--image-size", 96, "--layout", "current", "--output", folder / "plain.h5")
        truth = read_h5(folder / "plain.h5")
        check_hdf5(folder, truth)
        check_hdf5_indexes(folder, truth)
        check_hdf5_filters(folder, truth)
        check_robomimic(folder, truth)
        check_zarr(folder, truth)
        orrery("data", "convert", folder / "plain.h5", folder / "folder")
        orrery("data", "convert", folder / "folder", folder / "folder.h5")
        expect_rows(read_h5(folder / "folder.h5"), truth, "tables of a folder and back", but=("pixels",))
        films = subprocess.run([ORRERY, "data", "convert", str(folder / "plain.h5"), str(folder / "films"), "--format", "video"],
                               capture_output=True, text=True)
        if films.returncode == 0:
            orrery("data", "convert", folder / "films", folder / "films.h5")
            pixels = read_h5(folder / "films.h5")["pixels"]
            mean = np.abs(pixels.astype(int) - truth["pixels"].astype(int)).mean()
            expect(pixels.shape == truth["pixels"].shape and mean < 3, f"films and back, off by {mean:.2f} on average")
        else:
            print(f"left out: films, {films.stderr.strip()}")
        check_official(folder, truth)
        check_lerobot(folder, truth, films.returncode == 0)
    return 1 if failures else 0


sys.exit(main())
