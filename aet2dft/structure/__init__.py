"""From atoms to meaning: lattice, chemical order, grains, defects and strain of any model of an fcc particle.

Nothing here knows how the atoms were found or what is computed from them.
"""
