"""From a folder of patients to the layout that training reads: ultrasound and MRI on one grid, registered and split."""
