"""Registration of preoperative MRI to the brain that intraoperative ultrasound shows.

:func:`register` does the whole job, :func:`register_by_lc2` the part that needs no synthetic MRI,
:func:`register_by_landmarks` goes by points; the measures
(:mod:`.lc2`, :mod:`.similarity`), the searches (:mod:`.search`, :mod:`.deformable`) and the :mod:`.landmarks` stand on
their own too. NumPy and SimpleITK only.
"""

from .landmarks import read_landmark_pairs, read_landmarks, target_registration_errors
from .search import register_rigid
from .workflow import RegistrationResult, register, register_by_landmarks, register_by_lc2

__all__ = [
    "RegistrationResult",
    "read_landmark_pairs",
    "read_landmarks",
    "register",
    "register_by_landmarks",
    "register_by_lc2",
    "register_rigid",
    "target_registration_errors",
]
