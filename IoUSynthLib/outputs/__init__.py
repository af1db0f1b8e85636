"""What a run leaves behind: files of a case, pictures, DICOM series; one case or many."""
