"""Transforms and projections: padded grids, exact gridding, the convolution operator, the one projector of all."""
