"""From meaning to numbers: volumes of a particle, decks of DFT codes, their execution, results and anisotropy.

How the chemical order was found lives in ``structure``.
"""
