"""Reading and writing images: formats, DICOM, names, paths."""
