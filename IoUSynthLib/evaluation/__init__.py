"""How good a synthetic MRI is: fidelity, trivial baselines, segmentation."""
