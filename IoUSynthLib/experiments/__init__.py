"""Experiments on trained and untrained models; no other room needs them."""
