"""The codes of the segments in Slicer's own terminology logic, and where the results lie in the subject hierarchy."""

from __future__ import annotations

import pytest
import SlicerHost


@pytest.fixture
def terminologies(panel):
    """The logic of Slicer's module Terminologies, with the lists that Slicer and the extension bring."""
    import slicer

    return slicer.modules.terminologies.logic()


def codes(logic, name):
    """Scheme, code and meaning of all types of a terminology, by the code of their category."""
    import slicer

    found = {}
    for number in range(logic.GetNumberOfCategoriesInTerminology(name)):
        category = slicer.vtkSlicerTerminologyCategory()
        assert logic.GetNthCategoryInTerminology(name, number, category)
        types = found.setdefault(category.GetCodeValue(), [])
        for index in range(logic.GetNumberOfTypesInTerminologyCategory(name, category)):
            kind = slicer.vtkSlicerTerminologyType()
            assert logic.GetNthTypeInTerminologyCategory(name, category, index, kind)
            types.append((kind.GetCodingSchemeDesignator(), kind.GetCodeValue(), kind.GetCodeMeaning()))
    return found


@pytest.mark.parametrize(
    ("label", "expected"),
    [(1, ("SCT", "4147007", "Mass")), (2, ("99IOUSYNTH", "ResectionCavity", "Resection cavity"))],
)
def test_segments_are_coded_in_the_list_of_the_extension(terminologies, label, expected):
    import slicer

    from IoUSynthLib.mrml.styles import SEGMENTS

    (style,) = [style for style in SEGMENTS if style.label == label]
    entry = slicer.vtkSlicerTerminologyEntry()
    assert terminologies.DeserializeTerminologyEntry(style.terminology, entry)
    kind = entry.GetTypeObject()
    assert (kind.GetCodingSchemeDesignator(), kind.GetCodeValue(), kind.GetCodeMeaning()) == expected
    assert entry.GetCategoryObject().GetCodeValue() == "49755003"
    assert entry.GetAnatomicRegionObject().GetCodeValue() == "12738006"
    assert expected in codes(terminologies, "IoUSynth brain ultrasound")["49755003"]


def test_results_lie_beside_the_ultrasound_in_the_subject_hierarchy(scene, panel, case):
    import slicer
    import vtk

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def add_item(_scene, _event, node):
        """What Slicer's subject hierarchy does with every new data node, also while the scene is in a batch."""
        if node.IsA("vtkMRMLDisplayableNode"):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Surgery")
    hierarchy.CreateItem(study, case)
    tag = scene.AddObserver(scene.NodeAddedEvent, add_item)
    try:
        panel.ui.applyButton.click()
        assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 60)
    finally:
        scene.RemoveObserver(tag)
    outputs = panel.selectedOutputs().all()
    assert len(outputs) == 4
    assert {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in outputs} == {study}
