"""Running a network over a volume: sessions, and the one sliding-window loop."""

from .session import Session, open_session
from .sliding_window import Cancelled, predict, predict_passes

__all__ = ["Cancelled", "Session", "open_session", "predict", "predict_passes"]
