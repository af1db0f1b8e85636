"""What Slicer's module Data Probe writes into the corners of slice views, with its settings as they come."""

from __future__ import annotations

from typing import Any

import vtk

_FONT_SIZE = 14
_BOTTOM_LEFT = 0


class SliceAnnotations:
    """Names the volumes of each view at its bottom left, by the corner annotation that is everybody's."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._seen: set[Any] = set()
        self._follow_views()

    def _follow_views(self) -> None:
        for name in self._manager.sliceViewNames():
            logic = self._manager.sliceWidget(name).sliceLogic()
            if logic not in self._seen:
                self._seen.add(logic)
                logic.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update)

    def _update(self, logic: Any, _event: str) -> None:
        self._follow_views()
        composite = logic.GetSliceCompositeNode()
        widget = self._manager.viewWidget(logic.GetSliceNode())
        if composite is None or widget is None:
            return
        annotation = widget.sliceView().cornerAnnotation()
        annotation.SetMaximumFontSize(_FONT_SIZE)
        annotation.SetMinimumFontSize(_FONT_SIZE)
        annotation.SetNonlinearFontScaleFactor(1)
        annotation.GetTextProperty().SetFontFamilyToTimes()
        annotation.GetTextProperty().ShadowOn()
        annotation.SetText(_BOTTOM_LEFT, _volumes_text(logic, composite))


def _volumes_text(logic: Any, composite: Any) -> str:
    background, foreground = logic.GetBackgroundLayer().GetVolumeNode(), logic.GetForegroundLayer().GetVolumeNode()
    lines = []
    if foreground is not None:
        opacity = f" ({int(100 * composite.GetForegroundOpacity())}%)" if background is not None else ""
        lines.append(f"F: {foreground.GetName()}{opacity}\n")
    if background is not None:
        lines.append(f"B: {background.GetName()}\n")
    return "".join(lines)
