"""Particles and tilt series whose truth is known, to test with, to plan measurements and to teach."""

from __future__ import annotations

from aet2dft.synthetic.crystals import FALSE_ATOM_DISTANCE as FALSE_ATOM_DISTANCE
from aet2dft.synthetic.crystals import LATTICE_CONSTANT as LATTICE_CONSTANT
from aet2dft.synthetic.crystals import Grain as Grain
from aet2dft.synthetic.crystals import Region as Region
from aet2dft.synthetic.crystals import ball as ball
from aet2dft.synthetic.crystals import everywhere as everywhere
from aet2dft.synthetic.crystals import fept_twin as fept_twin
from aet2dft.synthetic.crystals import half_space as half_space
from aet2dft.synthetic.crystals import measured as measured
from aet2dft.synthetic.crystals import nine_grains as nine_grains
from aet2dft.synthetic.crystals import ordered_crystal as ordered_crystal
from aet2dft.synthetic.crystals import particle as particle
from aet2dft.synthetic.crystals import two_grains as two_grains
from aet2dft.synthetic.image_series import KnownSeries as KnownSeries
from aet2dft.synthetic.image_series import tilt_series as tilt_series
from aet2dft.synthetic.image_series import uneven_tilts as uneven_tilts
from aet2dft.synthetic.mixtures import amorphous as amorphous
from aet2dft.synthetic.mixtures import core_shell as core_shell
