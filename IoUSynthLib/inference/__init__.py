"""Running a network over a volume: sessions, the one sliding-window loop, and the fusion of slice axes."""

from .fusion import fuse
from .session import Session, open_session
from .sliding_window import Cancelled, predict, predict_passes, sample_windows

__all__ = ["Cancelled", "Session", "fuse", "open_session", "predict", "predict_passes", "sample_windows"]
