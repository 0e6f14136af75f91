"""The algorithms of `reconstruct`, each a generator of states, and the catalog from which one is taken."""
