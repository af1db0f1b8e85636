"""What the models and the registration are worth on real patients."""
