"""Pruned transforms. Truth: numpy's transform of the whole padded grid in double precision."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aet2dft.recon.fourier.fft import SliceTransform, VolumeTransform, fast_size, quick_size

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


@given(st.integers(1, 3000))
def test_fast_sizes_are_even_have_small_factors_and_are_close(least):
    size = fast_size(least)
    assert size >= least
    assert size % 2 == 0
    assert size <= max(2, 1.2 * least + 2)
    left = size
    for prime in (2, 3, 5):
        while left % prime == 0:
            left //= prime
    assert left == 1


@given(st.integers(40, 3000))
def test_quick_sizes_hold_what_they_must_and_little_more(least):
    assert quick_size(least) % 4 == 0 or least > 1280
    assert least <= quick_size(least) <= 1.35 * least
    assert quick_size(quick_size(least)) == quick_size(least)


@given(SHAPES, st.integers(0, 99))
def test_planes_have_the_frequencies_of_the_padded_plane_and_come_back(shape, seed):
    planes = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    padded = fast_size(2 * shape[1]), fast_size(shape[2])
    frequencies = np.empty((shape[0], padded[0], padded[1] // 2 + 1), dtype=complex)
    back = np.empty_like(planes)
    SliceTransform(shape[0], shape[1:], padded).run(
        lambda p, spectrum: np.copyto(frequencies[p], spectrum),
        fill=lambda p, plane: np.copyto(plane, planes[p]),
        take=lambda p, plane: np.copyto(back[p], plane),
    )
    expected = np.fft.rfft2(planes.astype(float), padded)
    assert_allclose(frequencies, expected, atol=1e-6 * max(1, np.abs(expected).max()))
    assert_allclose(back / np.prod(padded), planes, atol=1e-6 * max(1, np.abs(planes).max()))


@given(SHAPES, st.integers(0, 99))
def test_a_volume_has_the_frequencies_of_the_padded_volume_and_comes_back(shape, seed):
    volume = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    padded = tuple(fast_size(2 * n) for n in shape)
    frequencies = np.empty((padded[1], padded[0], padded[2] // 2 + 1), dtype=complex)
    back = np.empty_like(volume)
    VolumeTransform(shape, padded).run(
        lambda y, spectrum: np.copyto(frequencies[y], spectrum),
        fill=lambda x, plane: np.copyto(plane, volume[x]),
        take=lambda x, plane: np.copyto(back[x], plane),
    )
    expected = np.fft.rfftn(volume.astype(float), padded, axes=(0, 1, 2)).transpose(1, 0, 2)
    assert_allclose(frequencies, expected, atol=1e-6 * max(1, np.abs(expected).max()))
    assert_allclose(back / np.prod(padded), volume, atol=1e-6 * max(1, np.abs(volume).max()))


def test_frequencies_alone_give_the_volume_they_belong_to():
    shape, padded = (5, 6, 7), (10, 12, 16)
    volume = np.random.default_rng(1).normal(size=shape)
    frequencies = np.fft.rfftn(volume, padded, axes=(0, 1, 2)).astype(np.complex64)
    found = np.empty(shape, dtype=np.float32)
    VolumeTransform(shape, padded).run(
        lambda y, spectrum: np.copyto(spectrum, frequencies[:, y]), take=lambda x, plane: np.copyto(found[x], plane)
    )
    assert_allclose(found / np.prod(padded), volume, atol=1e-6)
