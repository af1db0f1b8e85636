"""Results in the scene: what the module's logic does with them, and the panel's section Result."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _

from .library import importLibrary
from .section import Panel, Section
from .state import State
from .widgets import AMBER, marked, setAvailable

if TYPE_CHECKING:
    from IoUSynthLib.mrml.results import OutputNodes, Result

#: Opacity that a key adds or takes away, in percent.
OPACITY_STEP = 10.0
#: What the choice of images with and without MRI can be.
_WITH_MRI, _ALONE, _DIFFERENCE = range(3)
#: What can lie over the images of several samples, in the order of its choice.
_SPREADS = ("", "spread", "frequency")
#: Keys for the overlays, while the module is open.
KEYS = {"outlines": "O", "uncertainty": "U", "stronger": "Alt+Up", "weaker": "Alt+Down"}


class ResultLogic:
    """What the logic of the module can do with results; free of Qt."""

    def results(self) -> list[Result]:
        """Return the results in the scene, as ``mrml.results.Result``: the first input's first, each oldest first."""
        return importLibrary("mrml.results").find_results(slicer.mrmlScene)

    def goTo(self, result: Result, segment: str) -> bool:
        """Bring all slice views to the middle of a segment, "tumour" or "cavity"; False where it is empty."""
        position = importLibrary("mrml.results").middle_of(result, segment)
        if position is None:
            return False
        importLibrary("mrml.views").go_to(position)
        return True

    def showUncertainty(self, visible: bool, opacity: float = 0.5, threshold: float = 0.15) -> None:
        """Tint what is uncertain in the views of synthetic images.

        :param opacity: from 0 to 1.
        :param threshold: expected error, as a fraction of the intensity range, below which nothing is tinted.
        """
        importLibrary("mrml.layers").show_uncertainty(visible, opacity, threshold)

    def muteUntrusted(self, wanted: bool) -> None:
        """Show what is not to be trusted with little contrast and, without echo, under stripes; or all in full."""
        importLibrary("mrml.layers").mute(wanted)

    def showContribution(self, *, alternative: bool = False, difference: bool = False) -> None:
        """Choose what the views show of a result that was made with preoperative MRI, or could have been.

        :param alternative: the images that are not the result's: of ultrasound alone, or with MRI that was not used.
        :param difference: how far the two are apart, over them.
        """
        importLibrary("mrml.layers").show_contribution(alternative=alternative, difference=difference)

    def showSpread(self, kind: str = "") -> None:
        """Lay what samples differ in over the images that are their mean.

        :param kind: "spread", their standard deviation; "frequency", in how many of them there is tumour; or nothing.
        """
        importLibrary("mrml.layers").show_spread(kind)

    def compareResults(self, before: Result, after: Result, plane: str = "") -> dict[str, tuple[float, float]]:
        """Lay out two results side by side.

        :return: for each segment its volume in ml before and after.
        :raises ValueError: they cannot be compared; says why.
        """
        views = importLibrary("mrml.views")
        views.show_comparison(before, after, plane or views.FAN)
        return importLibrary("mrml.results").changes_ml(before, after)


class ResultSection(Section):
    """The panel's section Result. Its widgets are found among those of the panel, whose choices they show, too."""

    UI_FILE = "IoUSynthResult.ui"
    ABOVE = "registerCollapsibleButton"

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        vars(panel.ui).update(vars(self.ui))
        self.ui = panel.ui
        self._listed: list[tuple[str, str]] = []  # identifiers and labels, as the lists show them
        self._results: list[Result] = []
        self._inputID: str | None = None  # of the input whose result is selected
        self._measured: str | None = None  # identifier of the result whose volumes are shown
        self._offered: str | None = None  # identifier of the result whose images with and without MRI are offered
        self._drawn: str | None = None  # identifier of the result whose samples are offered
        self._compared: tuple[Result, Result] | None = None
        self._shortcuts: list[qt.QShortcut] = []
        self.ui.resultSelector.connect("activated(int)", self.onResultSelected)
        self.ui.tumourButton.connect("clicked(bool)", lambda _checked=False: self.onGoTo("tumour"))
        self.ui.cavityButton.connect("clicked(bool)", lambda _checked=False: self.onGoTo("cavity"))
        for text in (_("With MRI"), _("Ultrasound alone"), _("With MRI, and the difference")):
            self.ui.contributionSelector.addItem(text)
        self.ui.contributionSelector.connect("activated(int)", self.onContribution)
        for text in (_("Nothing"), _("Standard deviation"), _("Tumour in how many")):
            self.ui.spreadSelector.addItem(text)
        self.ui.spreadSelector.connect("activated(int)", self.onSpread)
        self.ui.compareButton.connect("clicked(bool)", self.onCompareButton)
        self._describeKeys()
        self._showChange("")

    # --- What the section shows

    def update(self) -> None:
        """Follow the scene and the choices."""
        parameters = self.panel.parameters
        self._list()
        selected, idle = self.selected(), self.panel.state is State.IDLE
        self.ui.resultForm.setVisible(bool(self._results))
        self.ui.comparisonForm.setVisible(len(self._results) > 1)
        self.ui.resultSelector.enabled = self.ui.comparisonForm.enabled = idle
        self._showVolumes(selected)
        self._showTrust(selected)
        self._offerContribution(selected)
        self._offerSpread(selected)
        known = parameters and parameters.uncertaintyVolume
        reason = "" if known else _("The model of this result does not predict its own error")
        for name in ("uncertaintyCheckBox", "opacitySlider", "thresholdSlider"):
            setAvailable(getattr(self.ui, name), reason)
        self.ui.labelThreshold.enabled = bool(known)

    def showOverlays(self) -> None:
        """Show outlines and uncertainty in the views as chosen."""
        parameters = self.panel.parameters
        if not parameters:
            return
        shown = [result.outputs.segmentation for result in self._compared or ()] or [parameters.segmentation]
        for segmentation in shown:
            if segmentation and segmentation.GetDisplayNode():
                segmentation.GetDisplayNode().SetVisibility(parameters.showOverlay)
        self.onContribution()
        self.onSpread()
        self.panel.logic.muteUntrusted(parameters.muteUntrusted)
        self.panel.logic.showUncertainty(
            parameters.showUncertainty, parameters.uncertaintyOpacity / 100, parameters.uncertaintyThreshold / 100
        )

    def selected(self) -> Result | None:
        """Return the result whose nodes are the panel's outputs, or None."""
        parameters = self.panel.parameters
        image = parameters and (parameters.t2wVolume or parameters.flairVolume)
        return next((result for result in self._results if image and result.holds(image)), None)

    def _list(self) -> None:
        self._results = self.panel.logic.results() if self.panel.parameters else []
        labels = self._labels()
        listed = [(result.identifier, label) for result, label in zip(self._results, labels, strict=True)]
        selected = self.selected()
        index = self._results.index(selected) if selected else -1
        if listed != self._listed:
            self._listed = listed
            compared = self.ui.compareSelector.currentIndex
            for selector in (self.ui.resultSelector, self.ui.compareSelector):
                selector.clear()
                for _identifier, label in listed:
                    selector.addItem(label)
            self.ui.compareSelector.currentIndex = compared if 0 <= compared < len(listed) else 0
        self.ui.resultSelector.currentIndex = index

    def _labels(self) -> list[str]:
        """Name each result by its input, and by model and time where an input has several."""
        inputs = [result.input_node for result in self._results]
        labels = []
        for result in self._results:
            name = result.input_node.GetName()
            several = inputs.count(result.input_node) > 1
            labels.append(f"{name}, {result.model}, {result.created[11:19]} UTC" if several else name)
        return labels

    def _showVolumes(self, result: Result | None) -> None:
        identifier = result.identifier if result else ""
        if identifier == self._measured:
            return
        self._measured = identifier
        volumes = result.volumes_ml() if result else {}
        doubtful = result.report.get("doubtful", ()) if result else ()
        tumour, cavity = (
            f"<b>{volumes.get(name, 0.0):.1f} ml</b>" + (_(" (doubtful)") if name in doubtful else "")
            for name in ("tumour", "cavity")
        )
        if not volumes.get("tumour"):  # 0 ml would sound as if there were none
            tumour = _("not outlined")
        text = _("Tumour {tumour}, resection cavity {cavity}").format(tumour=tumour, cavity=cavity)
        self.ui.volumesLabel.text = text if result else _("No result of this ultrasound yet.")
        none = _("There is none in this result")
        setAvailable(self.ui.tumourButton, "" if volumes.get("tumour", 0) > 0 else none)
        setAvailable(self.ui.cavityButton, "" if volumes.get("cavity", 0) > 0 else none)

    def _showTrust(self, result: Result | None) -> None:
        """Say why images are muted, and what others reach; nothing where nothing speaks against them."""
        parameters = self.panel.parameters
        report = result.report if result else {}
        text = trustText(report, bool(parameters and parameters.muteUntrusted))
        self.ui.trustLabel.text = text
        self.ui.trustLabel.setVisible(bool(text))
        setAvailable(self.ui.muteCheckBox, "" if text else _("Nothing speaks against this result"))

    # --- The result that is selected

    def followInput(self) -> bool:
        """Select the newest result of the input, or none, when another input has been chosen.

        :return: whether the parameter node was changed, which leads here again.
        """
        parameters = self.panel.parameters
        inputNode = parameters.inputVolume if parameters else None
        inputID = inputNode.GetID() if inputNode else None
        if not parameters or inputID == self._inputID:
            return False
        self._inputID = inputID
        outputs = self.panel.selectedOutputs().all()
        role = importLibrary("mrml.provenance").INPUT_ROLE
        if outputs and all(node.GetNodeReference(role) is inputNode for node in outputs):
            return False  # as in a scene that has just been loaded
        results = importLibrary("mrml.results")
        result = results.newest_of(inputNode)
        if not outputs and result is None:
            return False
        self.select(result.outputs if result else results.OutputNodes())
        return True

    def select(self, outputs: OutputNodes, inputVolumeNode: vtkMRMLScalarVolumeNode | None = None) -> None:
        """Select the nodes of a result, as ``OutputNodes``, and the ultrasound that they were made from."""
        parameters = self.panel.choices
        with slicer.util.NodeModify(parameters):
            if inputVolumeNode:
                self._inputID = inputVolumeNode.GetID()
                parameters.inputVolume = inputVolumeNode
            parameters.t2wVolume = outputs.images.get("T2w")
            parameters.flairVolume = outputs.images.get("FLAIR")
            parameters.uncertaintyVolume = outputs.uncertainty
            parameters.segmentation = outputs.segmentation

    def forget(self) -> None:
        """Look at everything anew, when the scene is closed or the module is opened: segments may have been edited."""
        self._inputID = self._measured = self._offered = self._drawn = self._compared = None

    def onResultSelected(self, index: int) -> None:
        """Switch to another result: its input, its nodes, its views."""
        if not 0 <= index < len(self._results):
            return
        result = self._results[index]
        self.select(result.outputs, result.input_node)
        report = result.report
        self.panel.showQuality("\n".join([report.get("summary", ""), *report.get("warnings", [])]).strip())
        self.panel.show(result.outputs, result.input_node, result.preoperative_node)

    def onShown(self) -> None:
        """Take note that one result is laid out, no comparison."""
        self._compared = None
        self._showChange("")
        self.showOverlays()

    def _showChange(self, text: str) -> None:
        self.ui.changeLabel.text = text
        self.ui.changeLabel.setVisible(bool(text))

    def onGoTo(self, segment: str) -> None:
        """Bring the views to tumour or cavity."""
        result = self.selected()
        if result:
            self.panel.logic.goTo(result, segment)

    def onCompareButton(self, _checked: bool = False) -> None:
        """Lay out the selected result beside the other one, the earlier input on the left."""
        after, before = self.selected(), self._results[self.ui.compareSelector.currentIndex]
        if after is None or before is after:
            after = next((result for result in reversed(self._results) if result is not before), None)
        if self._results.index(before) > self._results.index(after):
            before, after = after, before
        try:
            changes = self.panel.logic.compareResults(before, after, self.panel.parameters.plane)
        except ValueError as error:
            self._showChange(html.escape(str(error)))
            return
        self._compared = (before, after)
        self._showChange(changeText(before.input_node.GetName(), after.input_node.GetName(), changes))
        self.panel.layMriOver()
        self.showOverlays()

    # --- What MRI has contributed

    def _offerContribution(self, result: Result | None) -> None:
        """Offer images with MRI and of ultrasound alone where there are both; begin with those of the result."""
        identifier = result.identifier if result else ""
        if identifier != self._offered:
            self._offered = identifier
            self.ui.contributionSelector.currentIndex = _WITH_MRI if usesMri(result) else _ALONE
        for widget in (self.ui.labelContribution, self.ui.contributionSelector):
            widget.setVisible(bool(result and result.outputs.contribution))

    def onContribution(self, _index: int = 0) -> None:
        """Show images with MRI, of ultrasound alone, or the difference of the two."""
        chosen = self.ui.contributionSelector.currentIndex
        other = (chosen == _ALONE) == usesMri(self.selected())
        self.panel.logic.showContribution(alternative=other, difference=chosen == _DIFFERENCE)

    # --- What samples differ in

    def _offerSpread(self, result: Result | None) -> None:
        """Say in how many samples there is tumour, and offer to show it, where there are several."""
        identifier = result.identifier if result else ""
        if identifier != self._drawn:
            self._drawn = identifier
            self.ui.spreadSelector.currentIndex = 0
            self.ui.spreadLabel.text = spreadText(result.report if result else {})
        for widget in (self.ui.spreadLabel, self.ui.labelSpread, self.ui.spreadSelector):
            widget.setVisible(bool(result and result.outputs.spread))

    def onSpread(self, _index: int = 0) -> None:
        """Lay over the images what is chosen of their samples."""
        self.panel.logic.showSpread(_SPREADS[self.ui.spreadSelector.currentIndex])

    # --- Keys

    def _describeKeys(self) -> None:
        """Tell the keys in the tooltips."""
        for widget, keys in (
            (self.ui.overlayCheckBox, KEYS["outlines"]),
            (self.ui.uncertaintyCheckBox, KEYS["uncertainty"]),
            (self.ui.opacitySlider, f"{KEYS['stronger']}, {KEYS['weaker']}"),
        ):
            widget.toolTip = _("{text} (key {keys})").format(text=widget.toolTip, keys=keys)

    def installKeys(self) -> None:
        """Listen to the keys, while the module is open."""
        self.removeKeys()
        window = slicer.util.mainWindow()
        for name, action in (
            ("outlines", lambda: self.ui.overlayCheckBox.click()),
            ("uncertainty", lambda: self.ui.uncertaintyCheckBox.click()),
            ("stronger", lambda: self._fade(OPACITY_STEP)),
            ("weaker", lambda: self._fade(-OPACITY_STEP)),
        ):
            shortcut = qt.QShortcut(window or self.panel.parent)
            shortcut.setKey(qt.QKeySequence(KEYS[name]))
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)

    def removeKeys(self) -> None:
        """Leave the keys to others."""
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []

    def _fade(self, step: float) -> None:
        slider = self.ui.opacitySlider
        if slider.enabled:
            slider.value = min(max(slider.value + step, slider.minimum), slider.maximum)


def usesMri(result: Result | None) -> bool:
    """Tell whether the images of a result were made with preoperative MRI."""
    return bool(result and (result.report.get("contribution") or {}).get("used"))


def changeText(before: str, after: str, changes: dict[str, tuple[float, float]]) -> str:
    """Return as rich text how the volumes have changed."""
    words = {"tumour": _("Tumour"), "cavity": _("Resection cavity")}
    lines = [
        _("{name}: {before:.1f} ml before, {after:.1f} ml after (<b>{change:+.1f} ml</b>)").format(
            name=words[segment], before=first, after=second, change=second - first
        )
        for segment, (first, second) in changes.items()
    ]
    names = _("Before: {before}. After: {after}.").format(before=before, after=after)
    return "<br/>".join([html.escape(names), *lines])


def spreadText(report: dict[str, Any]) -> str:
    """Return in one line in how many samples there is tumour, and how far they are apart; empty without samples."""
    spread = report.get("spread") or {}
    if "mean_deviation" not in spread:
        return ""
    outlined = spread["outlined"]
    text = _("Tumour in {count} of {samples} samples, which differ by {apart:.1%} of the range.")
    if len(outlined) > 1:
        text = _("Largest tumour in {count} of {samples} samples, which differ by {apart:.1%} of the range.")
    elif not outlined:
        text = _("Tumour nowhere in more than {count} of {samples} samples, which differ by {apart:.1%} of the range.")
    count = outlined[0]["samples"] if outlined else spread["most"]
    return text.format(count=count, samples=spread["samples"], apart=spread["mean_deviation"])


def trustText(report: dict[str, Any], muted: bool) -> str:
    """Return as rich text why the images of a result are muted, or would be, and where there is no echo."""
    words = {
        "unfamiliar": _("This ultrasound is unlike all that the model has learned from."),
        "uncertain": _("The model expects large errors."),
    }
    reasons = [words[reason] for reason in report.get("muted", []) if reason in words]
    lines = []
    if reasons:
        title = _("Muted.") if muted else _("Not to be trusted, though shown in full.")
        lines.append(f"{marked(title, AMBER)} {html.escape(' '.join(reasons))}")
        lines.append(html.escape(_("Real Dice: machines 0.65, surgeons near the end 0.32.")))
    share = report.get("quality", {}).get("no_echo", 0.0)
    if round(share, 2):
        text = _("Stripes: no echo comes from {share:.0%} of the fan, and what images show there is made up.")
        if not muted:
            text = _("No echo comes from {share:.0%} of the fan, and what images show there is made up.")
        lines.append(html.escape(text.format(share=share)))
    return "<br/>".join(lines)
