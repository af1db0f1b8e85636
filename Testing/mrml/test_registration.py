"""A registration's answer in the scene: where points lie, saved and reloaded, hardened, carried along, undone."""

from __future__ import annotations

import numpy as np
import pytest
from support.scene import linear, nested, snapshot, thin_plate

from IoUSynthLib.preprocessing import resample_like
from IoUSynthLib.registration.deformable import Deformation
from IoUSynthLib.registration.rigid import about, to_sitk
from IoUSynthLib.volume import InputError, Volume
from IoUSynthLib.worker.messages import Registered

FLIP = np.array([-1.0, -1.0, 1.0])
#: From LPS points of the ultrasound to those of the MRI.
MATRIX = about(np.array([-10.0, 55.0, 95.0]), np.array([0.1, -0.07, 0.05, 6.0, -4.0, 3.0]))
AFFINE = MATRIX @ np.diag([1.03, 0.98, 1.01, 1.0])


@pytest.fixture
def mri():
    """Smooth blobs on an oblique grid of its own that covers the ultrasound."""
    z, y, x = np.indices((50, 52, 54)).astype(np.float32)
    array = 500 + 300 * np.sin(x / 4) * np.cos(y / 5) + 150 * np.sin(z / 3)
    turn = about(np.zeros(3), np.array([0.2, -0.1, 0.3, 0, 0, 0]))[:3, :3]
    return Volume(array.astype(np.float32), (1.6, 1.7, 1.5), (-60.0, 10.0, 50.0), turn)


@pytest.fixture
def job(scene, ultrasound, add, mri, result_of):
    """MRI, ultrasound and synthetic MRI in the scene, with the MRI under no transform."""
    from IoUSynthLib.mrml.jobs import RegistrationJob
    from IoUSynthLib.mrml.write import add_result

    case = add(ultrasound, "Case ioUS")
    outputs = add_result(result_of(ultrasound), case)
    return RegistrationJob(add(mri, "Preop T2w"), case, outputs.images, segmentation_node=outputs.segmentation)


def place(job, mri_parent, ultrasound_parent):
    """Put MRI and ultrasound, with what was made of it, under transforms."""
    job.mri_node.SetAndObserveTransformNodeID(mri_parent and mri_parent.GetID())
    for node in (job.ultrasound_node, job.segmentation_node, *job.synthetic_nodes.values()):
        node.SetAndObserveTransformNodeID(ultrasound_parent and ultrasound_parent.GetID())


def answer(matrix=MATRIX, deformation=None, verdict="agrees"):
    return Registered(matrix, deformation, {"verdict": verdict, "summary": "tried"})


def to_world(node, lps):
    out = [0.0, 0.0, 0.0]
    points = []
    for point in lps * FLIP:
        node.TransformPointToWorld(point, out)
        points.append(list(out))
    return np.array(points)


def from_world(node, ras):
    out = [0.0, 0.0, 0.0]
    points = []
    for point in ras:
        node.TransformPointFromWorld(point, out)
        points.append(list(out))
    return np.array(points) * FLIP


def points_of(ultrasound, number=20):
    index = np.random.default_rng(5).integers(0, ultrasound.size, (number, 3))
    return index @ ultrasound.ijk_to_lps[:3, :3].T + ultrasound.ijk_to_lps[:3, 3]


def through(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def everything(scene):
    """Every node with its parent."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [(n.GetID(), n.GetTransformNodeID() if n.IsA("vtkMRMLTransformableNode") else "") for n in nodes]


def other_nested(scene):
    outer = linear(scene, "PatientToRas", [0.8, -0.6, 0, 3, 0.6, 0.8, 0, -4, 0, 0, 1, 5, 0, 0, 0, 1])
    inner = linear(scene, "ScanToPatient", [1, 0, 0, -5, 0, 0, 1, 6, 0, -1, 0, 7, 0, 0, 0, 1])
    inner.SetAndObserveTransformNodeID(outer.GetID())
    return inner


def none(scene):
    return None


@pytest.mark.parametrize("matrix", [MATRIX, AFFINE])
@pytest.mark.parametrize("mri_parent", [none, other_nested])
@pytest.mark.parametrize("ultrasound_parent", [none, nested])
def test_corresponding_points_meet(scene, job, ultrasound, mri_parent, ultrasound_parent, matrix):
    place(job, mri_parent(scene), ultrasound_parent(scene))
    before = [snapshot(node) for node in (job.mri_node, job.ultrasound_node)]
    arguments = job.prepare()
    assert np.array_equal(arguments["moving"]["T2w"].direction, job.prepare()["moving"]["T2w"].direction)
    job.finish(answer(matrix))
    points = points_of(ultrasound)
    apart = to_world(job.ultrasound_node, points) - to_world(job.mri_node, through(matrix, points))
    assert np.abs(apart).max() < 1e-4
    assert [snapshot(node)[:3] for node in (job.mri_node, job.ultrasound_node)] == [part[:3] for part in before]
    transform = job.transform_node
    assert transform.GetName() == "Preop T2w to Case ioUS (IoUSynth)"
    assert transform.GetNodeReference(transform.GetMovingNodeReferenceRole()) is job.mri_node
    assert transform.GetNodeReference(transform.GetFixedNodeReferenceRole()) is job.ultrasound_node
    chain = [job.mri_node.GetParentTransformNode()]
    while chain[-1].GetParentTransformNode() is not None:
        chain.append(chain[-1].GetParentTransformNode())
    assert chain[-1] is transform
    assert len(chain) == (1 if mri_parent is none else 3)


def test_the_start_is_where_the_nodes_lie(scene, job, ultrasound):
    place(job, other_nested(scene), nested(scene))
    initial = job.prepare()["initial"]
    points = points_of(ultrasound)
    apart = to_world(job.ultrasound_node, points) - to_world(job.mri_node, through(initial, points))
    assert np.abs(apart).max() < 1e-9
    before = to_world(job.mri_node, points)
    job.finish(answer(initial))  # a search that stays where it started
    assert np.allclose(to_world(job.mri_node, points), before, atol=1e-9)


def stretched(scene):
    return linear(scene, "Calibration", [1.1, 0, 0, 3, 0, 0.9, 0, 4, 0, 0, 1, 5, 0, 0, 0, 1])


@pytest.mark.parametrize("parent", [thin_plate, stretched])
def test_an_mri_under_a_transform_that_is_not_rigid(scene, job, ultrasound, parent):
    """It is resampled as it lies, and the answer counts from there."""
    place(job, parent(scene), None)
    arguments = job.prepare()
    assert arguments["initial"] is None
    moving = arguments["moving"]["T2w"]
    index = np.array(moving.size) // 2
    seen = through(moving.ijk_to_lps, index[None].astype(float))
    own = from_world(job.mri_node, to_world(job.ultrasound_node, seen))
    ijk = through(np.linalg.inv(job_grid(job.mri_node)), own)[0]
    assert (ijk > 0).all()
    assert moving.array[tuple(index[::-1])] == pytest.approx(interpolated(job.mri_node, ijk[::-1]), abs=0.5)
    points = points_of(ultrasound)
    own = from_world(job.mri_node, to_world(job.ultrasound_node, through(MATRIX, points)))
    job.finish(answer())
    apart = to_world(job.ultrasound_node, points) - to_world(job.mri_node, own)
    assert np.abs(apart).max() < 2e-3  # as exact as the inverse of a spline is


def test_an_ultrasound_under_a_transform_that_scales_is_registered_in_the_world(scene, job, ultrasound):
    """As live 3D ultrasound, which has its voxel size in a transform."""
    place(job, None, linear(scene, "ImageToReference", [0, -0.5, 0, 9, 0.5, 0, 0, -8, 0, 0, 0.5, 7, 0, 0, 0, 1]))
    arguments = job.prepare()
    assert np.allclose(arguments["ultrasound"].spacing, np.multiply(ultrasound.spacing, 0.5))
    assert np.allclose(arguments["initial"], np.eye(4))
    job.finish(answer())
    in_world = to_world(job.ultrasound_node, points_of(ultrasound))
    assert np.abs(in_world - to_world(job.mri_node, through(MATRIX, in_world * FLIP))).max() < 1e-4


def job_grid(node):
    from IoUSynthLib.mrml.read import volume_from_node

    return volume_from_node(node).ijk_to_lps


def interpolated(node, zyx):
    import slicer

    array = slicer.util.arrayFromVolume(node)
    low = np.floor(zyx).astype(int)
    rest, total = zyx - low, 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, rest, 1 - rest))
        total += weight * array[tuple(low + corner)]
    return total


def smooth_deformation(ultrasound):
    shape = (20, 22, 24)
    grid = Volume(np.ones(shape, np.float32), (3.0, 2.8, 3.1), ultrasound.origin, ultrasound.direction)
    k, j, i = (np.sin(np.pi * part / (n - 1)) for part, n in zip(np.indices(shape), shape, strict=True))
    return Deformation(np.stack([4 * k * j * i, -3 * k * j * i, 2 * k * j * i], axis=-1), grid, 0.4, 0.6)


def deformed(deformation, points):
    return np.array([deformation.to_sitk().TransformPoint(point) for point in points.tolist()])


@pytest.mark.parametrize("suffix", ["", "deformation"])
def test_saved_and_reloaded(scene, job, ultrasound, slicer_host, tmp_path, suffix):
    import slicer

    deformation = smooth_deformation(ultrasound) if suffix else None
    place(job, other_nested(scene), nested(scene))
    job.prepare()
    job.finish(answer(deformation=deformation))
    index = np.random.default_rng(6).integers(1, 18, (20, 3))
    nodes = deformation.grid if deformation else ultrasound
    points = index @ nodes.ijk_to_lps[:3, :3].T + nodes.ijk_to_lps[:3, 3]
    expected = through(MATRIX, deformed(deformation, points) if deformation else points)
    world = to_world(job.ultrasound_node, points)
    assert np.abs(from_world(job.mri_node, world) - expected).max() < 1e-4
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer_host.reset_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    mri, case = slicer.util.getNode("Preop T2w"), slicer.util.getNode("Case ioUS")
    assert np.allclose(to_world(case, points), world, atol=1e-9)
    assert np.abs(from_world(mri, world) - expected).max() < 1e-4
    from IoUSynthLib.mrml import registration

    transform = registration.latest(mri)
    assert transform.GetNodeReference(transform.GetFixedNodeReferenceRole()) is case
    assert len(slicer.util.getNodesByClass("vtkMRMLGridTransformNode")) == bool(suffix)
    registration.undo(transform)
    assert registration.latest(mri) is None
    assert slicer.util.getNodesByClass("vtkMRMLGridTransformNode") == []
    assert mri.GetParentTransformNode().GetName() == "ScanToPatient"


def test_hardening_gives_what_resampling_gives(scene, job, ultrasound, mri):
    from IoUSynthLib.mrml.transforms import voxels_between

    place(job, other_nested(scene), nested(scene))
    job.prepare()
    job.finish(answer())
    expected = resample_like(mri, ultrasound, transform=to_sitk(MATRIX)).array
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    frame = job.ultrasound_node.GetParentTransformNode()

    def seen():
        return voxels_between(job.mri_node, flip @ ultrasound.ijk_to_lps, frame, shape=ultrasound.array.shape)

    inside = expected > 0
    assert inside.mean() > 0.5
    through_transform = seen()
    assert np.abs(through_transform - expected)[inside].max() < 0.5
    job.mri_node.HardenTransform()
    assert job.mri_node.GetParentTransformNode() is None
    assert np.abs(seen() - through_transform).max() < 0.5


@pytest.fixture
def plan(scene, add, mri, job):
    """What may move along with the MRI, and what may not."""
    plan = {
        "FLAIR": add(mri, "Preop FLAIR"),
        "model": scene.AddNewNodeByClass("vtkMRMLModelNode", "Tracts"),
        "segmentation": scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Tumour"),
        "targets": scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Targets"),
    }
    add(mri, "another ioUS")
    drawn = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn on the ultrasound")
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(job.ultrasound_node)
    hidden = scene.AddNewNodeByClass("vtkMRMLModelNode", "Slice")
    hidden.SetHideFromEditors(True)
    return plan


def test_offers_what_lies_under_the_same_transform(scene, job, plan):
    from IoUSynthLib.mrml.registration import companions

    assert companions(job.mri_node, job.ultrasound_node) == list(plan.values())
    plan["model"].SetAndObserveTransformNodeID(nested(scene).GetID())
    del plan["model"]
    assert companions(job.mri_node, job.ultrasound_node) == list(plan.values())


@pytest.mark.parametrize("parent", [none, other_nested])
def test_carries_the_chosen_along_and_undoes_it(scene, job, plan, parent):
    """With one left out, the transform comes below the common parent, which keeps the rest where it is."""
    from IoUSynthLib.mrml import registration

    above = parent(scene)
    for node in (job.mri_node, *plan.values()):
        node.SetAndObserveTransformNodeID(above and above.GetID())
    before, points = everything(scene), np.random.default_rng(0).normal(0, 30, (5, 3))
    job.carried_nodes = [plan["FLAIR"], plan["segmentation"], plan["targets"]]
    assert set(job.prepare()["moving"]) == {"T2w", "FLAIR"}
    rest = to_world(plan["model"], points)
    job.finish(answer())
    for node in job.carried_nodes:
        assert np.allclose(to_world(node, points), to_world(job.mri_node, points), atol=1e-9)
    assert np.allclose(to_world(plan["model"], points), rest, atol=1e-9)
    assert not np.allclose(to_world(job.mri_node, points), rest, atol=1.0)
    assert np.abs(to_world(job.ultrasound_node, points) - to_world(job.mri_node, through(MATRIX, points))).max() < 1e-4
    registration.undo(registration.latest(job.mri_node))
    assert everything(scene) == before


def test_with_the_ultrasound_under_the_same_transform(scene, job, ultrasound):
    """Also one that bends: the new transform lies below it and stays linear."""
    parent = thin_plate(scene)
    place(job, parent, parent)
    job.prepare()
    job.finish(answer())
    assert job.transform_node.GetParentTransformNode() is parent
    points = points_of(ultrasound)
    apart = to_world(job.ultrasound_node, points) - to_world(job.mri_node, through(MATRIX, points))
    assert np.abs(apart).max() < 1e-4


def test_a_transform_that_is_driven_is_never_written_to(scene, job, ultrasound):
    import slicer

    parent = linear(scene, "Tracker", [0, -1, 0, 30, 1, 0, 0, -20, 0, 0, 1, 7, 0, 0, 0, 1])
    place(job, parent, None)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Replay")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Poses")
    sequence.SetDataNodeAtValue(parent, "0")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(parent, sequence, False)
    before = slicer.util.arrayFromTransformMatrix(parent)
    job.prepare()
    job.finish(answer())
    assert job.transform_node.GetParentTransformNode() is parent
    assert parent.GetParentTransformNode() is None
    assert np.array_equal(slicer.util.arrayFromTransformMatrix(parent), before)
    points = points_of(ultrasound)
    apart = to_world(job.ultrasound_node, points) - to_world(job.mri_node, through(MATRIX, points))
    assert np.abs(apart).max() < 1e-4


def test_a_second_registration_comes_on_top_and_each_is_undone(scene, job, ultrasound):
    from IoUSynthLib.mrml import registration

    states = [everything(scene)]
    for _ in range(2):
        job.prepare()
        job.finish(answer())
        states.append(everything(scene))
    assert job.transform_node.GetParentTransformNode() is None
    assert job.mri_node.GetParentTransformNode() is not job.transform_node
    for state in (states[1], states[0]):
        registration.undo(registration.latest(job.mri_node))
        assert everything(scene) == state
    assert registration.latest(job.mri_node) is None


def test_a_failed_registration_leaves_the_scene(scene, job):
    before = everything(scene)
    job.prepare()
    job.finish(answer(verdict="failed"))
    assert job.transform_node is None
    assert job.report["verdict"] == "failed"
    assert everything(scene) == before


def test_landmarks_pair_by_number_and_what_is_left_out_is_said(scene, job, ultrasound):
    """What one list lacks shifted all pairs after it; the stand-in's markups are Slicer's own."""
    points, lists = points_of(ultrasound, 6), []
    for unplaced, names in ((1, "ABCDEF"), (3, "ABCDFE")):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
        for number, point in enumerate(to_world(job.ultrasound_node, points)):
            node.AddControlPointWorld(*point)
            node.SetNthControlPointLabel(number, names[number])
        node.UnsetNthControlPointPosition(unplaced)
        lists.append(node)
    job.landmark_nodes = tuple(lists)
    moving, fixed = job.prepare()["landmarks"]
    np.testing.assert_allclose(moving, points[[0, 2, 4, 5]], atol=1e-4)
    np.testing.assert_allclose(fixed, moving, atol=1e-9)
    job.finish(Registered(MATRIX, None, {"verdict": "agrees", "warnings": ["a"], "summary": "tried a"}))
    assert job.report["warnings"][1] == "Left out of the TRE, not placed in both images: landmark 2, 4."
    assert "contradict their order (E is number 5 in the MRI and 6 in the ultrasound)" in job.report["warnings"][2]
    assert job.report["summary"].startswith("tried a Left out")


def test_a_copy_of_the_ultrasound_is_no_mri(scene, job, ultrasound, add):
    job.mri_node = add(ultrasound.with_array(ultrasound.array * 2 + 1), "T2")
    with pytest.raises(InputError, match='volume "T2": is the ultrasound itself, not a preoperative MRI'):
        job.prepare()


def test_landmarks_in_any_frame(scene, job, ultrasound):
    place(job, other_nested(scene), nested(scene))
    points = points_of(ultrasound, 4)
    lists = []
    for node, lps in ((job.mri_node, through(MATRIX, points)), (job.ultrasound_node, points)):
        landmarks = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
        for point in to_world(node, lps):
            landmarks.AddControlPointWorld(*point)
        lists.append(landmarks)
    job.landmark_nodes = tuple(lists)
    moving, fixed = job.prepare()["landmarks"]
    assert np.abs(moving - through(MATRIX, points)).max() < 1e-6
    assert np.abs(fixed - points).max() < 1e-6


def test_the_cavity_goes_to_the_deformation(job, result_of, ultrasound):
    assert job.prepare()["cavity"] is None
    job.deformable = True
    assert np.array_equal(job.prepare()["cavity"].array, result_of(ultrasound).segmentation.array == 2)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda job, scene: setattr(job, "mri_node", None), "choose both"),
        (lambda job, scene: setattr(job, "mri_node", job.ultrasound_node), "is not a preoperative MRI"),
        (lambda job, scene: setattr(job, "synthetic_nodes", {}), "synthesize it first"),
        (lambda job, scene: place(job, None, thin_plate(scene)), "non-linear"),
        (lambda job, scene: setattr(job, "deformable", True) or place(job, None, stretched(scene)), "scales or shears"),
        (lambda job, scene: job.synthetic_nodes["T2w"].SetAndObserveTransformNodeID(nested(scene).GetID()), "undo"),
    ],
)
def test_what_cannot_be_registered_is_one_clear_line(scene, job, spoil, cause):
    spoil(job, scene)
    before = everything(scene)
    with pytest.raises(InputError, match=cause) as caught:
        job.prepare()
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)
    assert everything(scene) == before


def test_fade_and_checkerboard(scene, job, ultrasound):
    import slicer

    from IoUSynthLib.mrml import layers, views
    from IoUSynthLib.mrml.results import OutputNodes

    outputs = OutputNodes(job.synthetic_nodes, None, job.segmentation_node)
    views.show_result(outputs, job.ultrasound_node, job.mri_node)
    before = everything(scene)
    layers.fade_mri(job.mri_node, 0.3)
    composites = views.compared_views()
    assert {c.GetLayoutName() for c in composites} >= {"IoUSynthUltrasound", "IoUSynthT2w", "IoUSynthFLAIR"}
    for composite in composites:
        assert composite.GetForegroundVolumeID() == job.mri_node.GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    text = slicer.app.layoutManager().sliceWidget("IoUSynthT2w").overlayCornerAnnotation().GetText(7)
    assert text.splitlines()[:2] == ["SYNTHETIC T2w - not acquired", "under Preop T2w"]
    node = layers.show_checkerboard(job.mri_node, job.ultrasound_node)
    assert {c.GetForegroundVolumeID() for c in composites} == {node.GetID()}
    display, array = node.GetDisplayNode(), slicer.util.arrayFromVolume(node)
    shown = array >= display.GetLowerThreshold()
    assert 0.2 < shown.mean() < 0.55
    expected = resample_like(job.prepare()["moving"]["T2w"], ultrasound).array
    assert np.abs(array - expected)[shown].max() < 0.5
    squares = np.floor(np.arange(ultrasound.size[0]) * ultrasound.spacing[0] / 10) % 2 == 0
    assert np.array_equal(shown[0, 0], squares & (expected[0, 0] != 0))
    assert (node.GetHideFromEditors(), node.GetSaveWithScene()) == (True, False)
    layers.fade_mri(job.mri_node, 0.0)
    assert everything(scene) == before
