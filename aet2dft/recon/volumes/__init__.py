"""From a `TiltSeries` to a `Volume`: plan, support, iterations, quality."""
