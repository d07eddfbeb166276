"""LBM, the lattice Boltzmann point tracker (NeurIPS 2025), written from its specification."""
