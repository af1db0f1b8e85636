"""What tests of several rooms share: tiny models, phantoms, files of all formats."""
