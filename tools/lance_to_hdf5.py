#!/usr/bin/env python3
"""Turns a Lance table of stable-worldmodel into its HDF5, which Orrery reads.

    lance_to_hdf5.py TABLE.lance OUTPUT.h5

Needs the packages stable-worldmodel and lancedb. Lance holds numbers as float32 and pictures as JPEG; they stay what
they became there.
"""

import sys

import numpy as np
from stable_worldmodel.data.format import get_format


def rows_of(values):
    values = np.asarray(values)
    # the reader turns pictures, channels first
    if values.ndim == 4 and values.shape[1] in (1, 3):
        values = values.transpose(0, 2, 3, 1)
    return list(values)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip().split("\n\n")[1])
    table, output = sys.argv[1:]
    data = get_format("lance").open_reader(table, frameskip=1, num_steps=1)
    with get_format("hdf5").open_writer(output, mode="error") as writer:
        for episode in range(len(data.lengths)):
            columns = data.load_episode(episode)
            writer.write_episode({name: rows_of(values) for name, values in columns.items() if not isinstance(values, str)})
    print(f"{output}: {len(data.lengths)} episodes")


main()
