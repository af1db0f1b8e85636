"""Parts of the module IoUSynth. In a folder, because Slicer takes every file beside IoUSynth.py for a module."""
