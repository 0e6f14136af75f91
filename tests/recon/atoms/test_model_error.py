"""How far the residuals pull at atoms beyond noise. Truth: images of atoms that noise, or sways of them, disturb."""

import numpy as np
import pytest

from aet2dft.recon.atoms import atom_fit
from aet2dft.recon.atoms.atom_fit import Problem
from aet2dft.recon.atoms.image_model import GaussianAtoms, ImageGeometry, images, normal_blocks
from aet2dft.recon.atoms.image_noise import Calibration
from aet2dft.recon.atoms.model_error import SECTORS, misfit
from aet2dft.recon.geometry import tilt_rotations

N_IMAGES = 40
GEOMETRY = ImageGeometry(
    axes=np.ascontiguousarray(np.swapaxes(tilt_rotations(np.linspace(-75, 75, N_IMAGES)), 1, 2)[:, :2]),
    centers=np.full((N_IMAGES, 2), 32.0),
    shape=(64, 64),
)
KNOWN = Calibration(scale=np.ones(N_IMAGES), background=np.zeros(N_IMAGES), gain=1e-9, offset=1.0)


def crystal():
    """64 atoms far enough apart to be fitted one by one, pixels."""
    return GaussianAtoms(
        positions=10.0 * (np.indices((4, 4, 4)).reshape(3, -1).T - 1.5),
        heights=np.full(64, 300.0),
        kinds=np.arange(64) % 2,
        widths=np.array([1.35, 1.35]),
    )


def fitted(sway, seed=0):
    """The problem, the atoms and the residual after a fit of images whose atoms sway, sector by sector, by pixels."""
    rng, atoms = np.random.default_rng(seed), crystal()
    measured = rng.standard_normal((N_IMAGES, *GEOMETRY.shape)).astype(np.float32)
    for part in np.array_split(np.arange(N_IMAGES), SECTORS):
        shaken = atom_fit.moved(atoms, np.pad(sway * rng.standard_normal((64, 3)), ((0, 0), (0, 1))))
        measured[part] += images(GEOMETRY.of_images(part), shaken)
    problem = Problem.of(GEOMETRY, measured, images(GEOMETRY, atoms), KNOWN)
    for _ in range(4):
        residual = problem.target - images(GEOMETRY, atoms)
        atoms = atom_fit.moved(atoms, atom_fit.newton_step(problem, atoms, residual, 6, damping=1e-3))
    return problem, atoms, problem.target - images(GEOMETRY, atoms)


def test_noise_alone_is_no_misfit():
    factors = misfit(*fitted(0.0))
    assert factors.shape == (2, 4)
    assert (factors >= 1.0).all()
    assert factors.max() < 1.3


def test_errors_hold_where_the_model_is_wrong():
    """Truth: where the atoms are; they sway from sector to sector by four times the error that noise explains."""
    problem, atoms, residual = fitted(0.15)
    variances = np.diagonal(np.linalg.inv(normal_blocks(GEOMETRY, atoms, problem.weights)), axis1=1, axis2=2)[:, :3]
    off = atoms.positions - crystal().positions
    by_noise = off / np.sqrt(variances)
    assert np.sqrt((by_noise**2).mean()) > 2.0
    in_all = off / np.sqrt(variances * misfit(problem, atoms, residual)[atoms.kinds, :3])
    assert np.sqrt((in_all**2).mean()) == pytest.approx(1.0, abs=0.2)


def test_what_fails_at_a_few_atoms_does_not_make_the_others_unsure():
    """Truth: four of 64 atoms that sway, and 60 that do not; sums over all of them would give 17 to 50."""
    sways = np.where(np.arange(64) < 4, 0.5, 0.0)[:, None]
    factors = misfit(*fitted(sways))
    assert factors.max() < 1.5


def test_two_images_tell_the_misfit_as_many_do():
    """Truth: noise four times as strong as the weights say, along the tilt axis, which both images show."""
    where, rng = GEOMETRY.of_images(np.array([0, N_IMAGES - 1])), np.random.default_rng(0)
    flat, ratios = np.ones((2, *GEOMETRY.shape), dtype=np.float32), []
    for _ in range(8):
        atoms, noise = crystal(), (4.0 * rng.standard_normal(flat.shape)).astype(np.float32)
        problem = Problem(geometry=where, target=images(where, atoms) + noise, weights=flat)
        for _ in range(3):
            residual = problem.target - images(where, atoms)
            atoms = atom_fit.moved(atoms, atom_fit.newton_step(problem, atoms, residual, 6, damping=1e-3))
        ratios.append(misfit(problem, atoms, problem.target - images(where, atoms))[:, 1].mean())
    assert 11.0 < np.mean(ratios) < 21.0


def test_one_image_says_nothing_of_the_misfit():
    problem, atoms, residual = fitted(0.3)
    one = np.array([3])
    alone = Problem(geometry=GEOMETRY.of_images(one), target=problem.target[one], weights=problem.weights[one])
    assert (misfit(alone, atoms, residual[one]) == 1.0).all()


def test_the_order_of_the_images_does_not_matter():
    problem, atoms, residual = fitted(0.1)
    order = np.random.default_rng(3).permutation(N_IMAGES)
    shuffled = Problem(geometry=GEOMETRY.of_images(order), target=problem.target[order], weights=problem.weights[order])
    assert misfit(shuffled, atoms, residual[order]) == pytest.approx(misfit(problem, atoms, residual), rel=1e-6)
