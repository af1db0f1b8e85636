"""Weights that others have published, read into the generators of this library without running their code."""
