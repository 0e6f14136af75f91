"""From a `Volume` to atoms: peaks, species, positions refined against the images, edits, and images of a model."""
