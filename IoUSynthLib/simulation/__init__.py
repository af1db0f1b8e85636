"""Paired cases without patient data: heads, lesions, MR contrast and tracked ultrasound, all simulated."""
