"""From images to atoms.

Values (`tilt_series`, `geometry`, `metrics`) lie here; the rooms are `fourier`, `algorithms`, `images`, `volumes`,
`atoms` and `verification`, and each knows only those before it. `atoms` works on volumes that come
from anybody.
Nothing here knows a lattice, chemical order or a DFT code.
"""
