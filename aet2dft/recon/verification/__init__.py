"""How far the atoms can be trusted: their images are simulated and the chain is run again."""
