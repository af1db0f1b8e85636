"""Models on disk: what a bundle is, where it lies, how it is put there."""
