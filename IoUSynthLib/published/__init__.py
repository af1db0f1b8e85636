"""Weights that others have published, read into the generators of this library without running their code."""

#: Families of which the authors of the benchmark published weights.
FAMILIES = ("pix2pix", "swin_pix2pix", "cyclegan", "cut", "resvit", "syndiff")
