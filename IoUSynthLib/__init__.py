"""IoUSynth: synthetic T2w and FLAIR MRI from tracked intraoperative brain ultrasound.

Importing this package costs next to nothing: NumPy, SimpleITK and ONNX Runtime are imported by the functions that
need them. Start with :func:`IoUSynthLib.pipeline.synthesize`, or with ``python -m IoUSynthLib --help``.
"""

__version__ = "0.1.0"

#: Said in every file header, node attribute, picture and report.
NOTICE = (
    "SYNTHETIC - NOT ACQUIRED. Predicted from ultrasound by IoUSynth; research use only, never for clinical decisions."
)
