#!/usr/bin/env python3
"""Writes npy/*.npy: what numpy itself makes of start images, and of arrays that are not.

Value i, counted in C order, is i / 4 - 3. Made with NumPy 1.24.2:

    python3 tests/data/make_npy.py
"""

import pathlib

import numpy

FOLDER = pathlib.Path(__file__).parent / "npy"


def values(*shape):
    return (numpy.arange(numpy.prod(shape)) / 4 - 3).reshape(shape).astype(numpy.float32)


def write(name, array, version=(1, 0)):
    with open(FOLDER / name, "wb") as file:
        numpy.lib.format.write_array(file, array, version=version)


write("images.npy", values(2, 3, 4, 3))
write("image_v2.npy", values(3, 4, 3), version=(2, 0))
write("image_v3.npy", values(3, 4, 3), version=(3, 0))
write("float64.npy", values(3, 4, 3).astype(numpy.float64))
write("big_endian.npy", values(3, 4, 3).astype(">f4"))
write("fortran.npy", numpy.asfortranarray(values(3, 4, 3)))
write("grey.npy", values(3, 4))
write("structured.npy", numpy.zeros(3, dtype=[("a", "<f4"), ("b", "<f4")]))
