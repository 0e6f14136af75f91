"""From files to a `TiltSeries` that can be trusted: readers, checks of images and conventions, scale, noise."""
