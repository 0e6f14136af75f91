"""Slow, obvious versions of what the package computes fast: the yardstick of its tests. Plain loops, no shared code."""

from __future__ import annotations

from itertools import combinations

import numpy as np

NEAREST = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if abs(x) + abs(y) + abs(z) == 2]
"""The twelve neighbors of an fcc site in half cells."""
SUBLATTICE_OF_PARITY = {(0, 0, 0): 0, (0, 1, 1): 1, (1, 0, 1): 2, (1, 1, 0): 3}


def sublattice_of(site):
    """Sublattice of one site (3,) from the parities of its half-cell indices."""
    return SUBLATTICE_OF_PARITY[tuple(int(n) % 2 for n in site)]


def sublattice_fractions(site, is_first, sigma, truncate=4.0):
    """Fraction of the first species (4, N) per sublattice in a Gaussian window of `sigma` unit cells, cut to a cube."""
    half_cells = 2.0 * sigma
    reach = int(truncate * half_cells + 0.5)
    fraction = np.full((4, len(site)), np.nan)
    for i in range(len(site)):
        weight, first = np.zeros(4), np.zeros(4)
        for j in range(len(site)):
            step = site[j] - site[i]
            if np.abs(step).max() <= reach:
                w = np.exp(-0.5 * (step @ step) / half_cells**2)
                weight[sublattice_of(site[j])] += w
                first[sublattice_of(site[j])] += w * is_first[j]
        fraction[weight > 0, i] = first[weight > 0] / weight[weight > 0]
    return fraction


def order_parameter(fraction, held):
    """S of a variant that puts the first species on the sublattices `held`, from the fractions (4,) on all four."""
    inside = [fraction[k] for k in range(4) if k in held]
    outside = [fraction[k] for k in range(4) if k not in held]
    return sum(inside) / len(inside) - sum(outside) / len(outside)


def neighbors_by_site(site):
    """For every atom the set of atoms on the twelve neighboring sites."""
    at = {tuple(int(x) for x in s): i for i, s in enumerate(site)}
    return [{at[t] for d in NEAREST if (t := tuple(int(x) for x in np.add(s, d))) in at} for s in site]


def components(label, neighbors):
    """Set of frozensets of atoms: connected atoms of equal label, by flooding."""
    found, left = set(), set(range(len(label)))
    while left:
        front = [left.pop()]
        part = set(front)
        while front:
            i = front.pop()
            for j in neighbors[i]:
                if j in left and label[j] == label[i]:
                    left.discard(j)
                    part.add(j)
                    front.append(j)
        found.add(frozenset(part))
    return found


def fcc_misfit(points, spacing, center):
    """Least rms misfit of the twelve neighbors of one atom over all frames spanned by two of its second neighbors."""
    steps = [p - points[center] for i, p in enumerate(points) if i != center]
    near = [v for v in steps if np.linalg.norm(v) < 1.25 * spacing]
    second = [v for v in steps if 1.2 * spacing < np.linalg.norm(v) < 1.65 * spacing]
    best = np.inf
    if len(near) < 9:
        return best
    for u, v in combinations(second, 2):
        lengths = np.linalg.norm(u), np.linalg.norm(v)
        if abs(u @ v) > 0.2 * lengths[0] * lengths[1]:
            continue
        axes = u, v, np.cross(u, v) * 2.0 / sum(lengths)
        misses = []
        for a, b in combinations(range(3), 2):
            for sign_a in (-0.5, 0.5):
                for sign_b in (-0.5, 0.5):
                    place = sign_a * axes[a] + sign_b * axes[b]
                    misses.append(min([((w - place) ** 2).sum() for w in near] + [(0.5 * spacing) ** 2]))
        best = min(best, np.sqrt(np.mean(misses)))
    return best


def local_linear(points, values, sigma, truncate, center, leave_out=False):
    """Value and gradient (3, 3) at one point of the Gaussian-weighted local-linear fit, by weighted least squares."""
    step = points - points[center]
    distance = np.linalg.norm(step, axis=1)
    use = distance <= truncate * sigma
    if leave_out:
        use[center] = False
    root = np.sqrt(np.exp(-0.5 * (distance[use] / sigma) ** 2))[:, None]
    design = np.column_stack([np.ones(use.sum()), step[use]])
    solution = np.linalg.lstsq(root * design, root * values[use], rcond=None)[0]
    return solution[0], solution[1:].T


def alpha_shape_surface(points, alpha):
    """Atoms on the alpha shape: of all tetrahedra those with a small empty circumsphere are kept."""
    faces, inside = {}, set()
    for four in combinations(range(len(points)), 4):
        corners = points[list(four)]
        edges = corners[1:] - corners[0]
        if abs(np.linalg.det(edges)) < 1e-9:
            continue
        center = np.linalg.solve(2 * edges, (corners[1:] ** 2).sum(1) - (corners[0] ** 2).sum())
        radius = np.linalg.norm(center - corners[0])
        others = np.delete(points, four, axis=0)
        if radius < alpha and (np.linalg.norm(others - center, axis=1) > radius).all():
            inside |= set(four)
            for face in combinations(four, 3):
                faces[face] = faces.get(face, 0) + 1
    surface = {i for face, count in faces.items() if count == 1 for i in face}
    return np.array([i in surface or i not in inside for i in range(len(points))])


def pair_fractions(points, numbers, near, far):
    """Warren-Cowley parameters {(i, j): alpha} of a cluster from all pairs with a distance between `near` and `far`."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    bonded = (distance > near) & (distance < far)
    alpha = {}
    for i in np.unique(numbers):
        for j in np.unique(numbers):
            if i != j:
                around = bonded[numbers == i]
                p = around[:, numbers == j].sum() / around.sum()
                alpha[int(i), int(j)] = 1.0 - p / np.mean(numbers == j)
    return alpha


def frame_map(site, true_site):
    """Integer rotation (3, 3) and translation (3,) with site = rotation @ true_site + translation; checked exactly."""
    design = np.column_stack([true_site, np.ones(len(true_site))])
    solution = np.linalg.lstsq(design.astype(float), site.astype(float), rcond=None)[0]
    rotation = np.rint(solution[:3]).astype(int).T
    return rotation, np.rint(np.median(site - true_site @ rotation.T, axis=0)).astype(int)


def mapped_variants(rotation, translation):
    """Number (16,) that every variant has after its sites were turned and moved by integers."""
    corners = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    new = [sublattice_of(rotation @ np.array(c) + translation) for c in corners]
    return np.array([sum(1 << new[k] for k in range(4) if v >> k & 1) for v in range(16)])
