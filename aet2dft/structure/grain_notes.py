"""What is said of the grains of a particle, in the same words in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aet2dft.structure.grain_table import GrainTable, Recipe


def recipe_note(recipes: Sequence[Recipe]) -> str:
    """Say how far the largest ordered grain depends on the recipe; a recipe without any counts as 0 atoms."""
    sizes = [recipe.largest for recipe in recipes]
    none = sizes.count(0)
    if none == len(sizes):
        return "no neighboring label recipe finds an ordered grain"
    without = f"; {none} of {len(sizes)} find{'s' * (none == 1)} none" if none else ""
    return (
        f"the largest ordered grain holds {min(sizes):,} to {max(sizes):,} atoms under neighboring label recipes"
        f"{without}"
    )


def surrogate_note(significance: float, n_surrogates: int, what: str = "one like it") -> str:
    """Say how many surrogates have a grain by chance; `n_surrogates` is 0 where the record does not tell."""
    count = "none" if significance == 1.0 else str(round((1.0 - significance) * n_surrogates) or "some")
    return f"{count} of {n_surrogates or 'the'} surrogates {'has' if count in ('none', '1') else 'have'} {what}"


def least_certain_note(table: GrainTable, n_surrogates: int) -> str:
    """`surrogate_note` of the small grain that is the least certain; empty where no grain was tested."""
    asked = table.significance[np.isfinite(table.significance)]
    if not asked.size:
        return ""
    what = "one like it" if asked.size == 1 else f"a grain like the least certain of {asked.size}"
    return surrogate_note(float(asked.min()), n_surrogates, what)
