"""Training of generators and segmenters on prepared or simulated cohorts."""
