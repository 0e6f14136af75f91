"""Coordinates of other software in the frame of a volume. Truth: spots at known places of a made volume."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from aet2dft.errors import InputError
from aet2dft.recon.atoms.candidate_frames import doubts, in_frame_of
from aet2dft.recon.tilt_series import Volume

VOXEL = 0.35


@pytest.fixture(scope="module")
def spots():
    """Volume with forty Gaussian spots, and their indices."""
    random = np.random.default_rng(0)
    places = random.uniform(6, 34, (40, 3))
    grid = np.stack(np.meshgrid(*[np.arange(40.0)] * 3, indexing="ij"), axis=-1)
    values = sum(np.exp(-0.5 * ((grid - place) ** 2).sum(axis=-1) / 1.4**2) for place in places)
    return Volume(values=values.astype(np.float32), voxel_size=VOXEL, origin=np.zeros(3)), places


@pytest.mark.parametrize(
    ("given", "reading"),
    [
        (lambda index: (index - 20) * VOXEL, "Å from the center"),
        (lambda index: index - 20, "voxels from the center"),
        (lambda index: index, "voxels from the first voxel, as 0"),
        (lambda index: index + 1, "voxels from the first voxel, as 1"),
        (lambda index: 3 * index, "thirds of a voxel from the first voxel, as 0"),
        (lambda index: VOXEL * index, "Å from the first voxel, as 0"),
    ],
)
def test_unit_and_origin_are_those_where_the_volume_is_brightest(spots, given, reading):
    volume, index = spots
    positions, said = in_frame_of(volume, given(index))
    assert said == reading
    assert_allclose(positions, (index - 20) * VOXEL, atol=1e-9)


def test_candidates_of_another_volume_are_refused(spots):
    with pytest.raises(InputError, match="not brighter"):
        in_frame_of(spots[0], np.random.default_rng(1).uniform(-1000, -900, (40, 3)))
    # in voxels or thirds of one, where they are nearer than atoms are, these would lie in the volume
    for shift in ((10.0, 10.0, 10.0), (20.0, 25.0, 30.0)):
        with pytest.raises(InputError, match="not brighter"):
            in_frame_of(spots[0], (spots[1] - 20) * VOXEL + np.array(shift))
    with pytest.raises(InputError, match="not finite"):
        in_frame_of(spots[0], np.full((3, 3), np.nan))


def test_a_common_offset_is_told_and_other_axes_are_none(spots):
    volume, index = spots
    there = (index - 20) * VOXEL
    assert doubts(volume, there) == ()
    said = doubts(volume, there + VOXEL * np.array([4, -2, 0]))
    assert len(said) == 1
    assert "beside bright spots" in said[0]
    assert "moved by (-1.4, 0.7, 0.0) Å together they lie on them" in said[0]
    assert "are the order and the signs of their axes" in doubts(volume, there[:, [1, 0, 2]])[0]
