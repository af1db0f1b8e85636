"""The layout of a cohort on disk: paired ultrasound, MRI and labels, simulated or of patients. No PyTorch."""
