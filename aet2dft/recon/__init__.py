"""From images to atoms: the geometry of a tilt series. Reconstruction, tracing and classification belong in this room.

Nothing here knows a lattice, chemical order or a DFT code.
"""
