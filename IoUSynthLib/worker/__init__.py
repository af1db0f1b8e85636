"""Synthesis, registration and examination in a child process that stays warm, so that the host lives when it dies."""
