"""``iousynth report``: from the results of several evaluations to tables, figures and a page."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_models import SHARED

from IoUSynthLib import cli
from IoUSynthLib.evaluation.charts import Mark, heat_map, marks, scatter
from IoUSynthLib.evaluation.from_scores import read_scores
from IoUSynthLib.evaluation.pictures import write_pictures
from IoUSynthLib.evaluation.protocol import Protocol
from IoUSynthLib.evaluation.report_tables import by_utility, comparisons, fidelity, leaderboards, outlines, strata
from IoUSynthLib.evaluation.results import write_results
from IoUSynthLib.evaluation.scores import Row, summarize
from IoUSynthLib.evaluation.statistics import retention, utility_ratio

RESULTS = SHARED / "oracles" / "results"
TABLES = SHARED / "data" / "benchmark_tables"
PHASES = {"pre": "before resection", "post": "after resection"}
REGIMES = {"2D": "2d", "2.5D": "2.5d", "2D + 3D-refine": "2d+3d-refine", "Full-3D": "3d"}
COLUMNS = {"SSIM": "ssim", "PSNR": "psnr_db", "LPIPS": "lpips"}
DICE = np.array([[0.5, 0.3], [0.7, 0.0], [0.6, 0.4], [0.9, 0.1]])


def published(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        pytest.skip("the published results are not here")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, rows: list[Row], *, simulated: bool = False, region: str = "crop") -> Path:
    """What ``iousynth evaluate`` leaves."""
    folder.mkdir(parents=True)
    write_results({
        "simulated": simulated, "protocol": Protocol(region=region), "cases": rows, "not_predicted": [], "missing": [],
        "summary": summarize(rows),
    }, folder)  # fmt: skip
    return folder


def study(patient: str, phase: str, **further: str | float) -> Row:
    case = {"case": f"{patient}-{phase}", "head": patient, "split": "test", "phase": PHASES[phase], "lesion": "tumour"}
    return {**case, **further}


def rows_of(better: float) -> list[Row]:
    """Four patients before and after; tumour before, cavity after; two of low grade."""
    rows = []
    for number in range(4):
        for at, phase in enumerate(PHASES):
            outline, other = ("tumour", "cavity") if phase == "pre" else ("cavity", "tumour")
            about = {"grade": "WHO 2" if number < 2 else "4", "reoperation": "No"}
            scores = {
                "T2w/prediction/PSNR": 15.0 + number + better, "T2w/prediction/SSIM": 0.7 + 0.01 * number,
                "T2w/ioUS as it is/PSNR": 12.0 + number, f"Dice/prediction/{outline}": DICE[number, at] * better,
                f"NSD/prediction/{outline}": DICE[number, at], f"false ml/prediction/{other}": 0.5,
            }  # fmt: skip
            rows.append(study(f"P{number}", phase, **about, **scores))
    return rows


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {
        name: write(tmp_path / name, rows_of(better)) for name, better in (("a-2d-t2w", 0.5), ("b-3d-t2w", 0.75))
    }


class Parsed(HTMLParser):
    """Which tags stand open at the end, and what a page asks the network for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.asked, self.tables = [], [], 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tables += tag == "table"
        given = [value or "" for name, value in attrs if name in ("src", "href")]
        self.asked += [value for value in given if not value.startswith(("#", "data:"))]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_report_from_folders_to_page(folders, tmp_path, capsys):
    """Who was measured comes first; the page asks nobody for anything; each table is there in three formats."""
    real = write(tmp_path / "real", rows_of(1.0))
    names = [f"first-2d-t2w={folders['a-2d-t2w']}", str(folders["b-3d-t2w"])]
    output = tmp_path / "report"
    assert cli.main(["report", *names, "--real", str(real), "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    page = (output / "report.html").read_text(encoding="utf-8")
    parsed = Parsed(page)
    assert (parsed.open, parsed.asked) == ([], [])
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    whom, tables = page.index("8 studies of 4 patients (4 before resection, 4 after resection)"), page.index("<table")
    assert page.index("These figures are of real patients") < whom < tables
    csvs = {path.stem for path in output.glob("*.csv")} - {"means"}
    assert {path.stem for path in output.glob("*.tex")} == csvs
    assert parsed.tables == len(csvs) >= 6
    assert "By PSNR dB of the synthetic T2w, b-3d-t2w leads with 17.25 (16.25 to 18.25)" in printed
    assert "The ultrasound as it is has 13.50" in printed
    assert "Regions (table 8): `iousynth evaluate --roi`" in printed
    assert "Utility ratio and retention" not in printed
    assert "## Image quality of the synthetic T2w" in (output / "report.md").read_text(encoding="utf-8")


def test_outlines_by_phase_and_structure_with_utility_and_retention(folders, tmp_path):
    """The cavity of which the real Dice is 0 has no ratio, but counts for the retention."""
    results = read_scores(folders, real=write(tmp_path / "real", rows_of(1.0)))
    table = outlines(results)
    kept = [row for row in table.rows if row[:2] == ["a", "2D"]]
    assert [(row[3], row[4], row[5]) for row in kept] == [
        ("tumour", "all phases", "4"), ("tumour", "before resection", "4"), ("tumour", "after resection", "0"),
        ("cavity", "all phases", "4"), ("cavity", "before resection", "0"), ("cavity", "after resection", "4"),
    ]  # fmt: skip
    by_heading = dict(zip(table.headings, kept[5], strict=True))
    assert by_heading["utility ratio, Dice"] == "0.50"  # of two: 0.1 is not above 0.1
    real = DICE[:, 1]
    assert utility_ratio(real / 2, real) == 0.5 == retention(real / 2, real) == float(by_heading["retention, Dice"])
    assert table.rows[0][0] == "acquired MRI"
    assert [e.name for e in by_utility(results.experiments)] == ["b-3d-t2w", "a-2d-t2w"]


def test_the_utility_of_present_classes_is_the_mean_of_each_ones(tmp_path):
    """Tumour 0.4 of 0.8 and cavity 0.3 of 0.4; the ratio of the means would be 0.58."""
    keys = ("Dice/prediction/tumour", "Dice/prediction/cavity", "Dice/prediction/present classes")
    rows = [
        [study("a", "pre", **dict(zip(keys, values, strict=True)))]
        for values in ((0.4, 0.3, 0.35), (0.8, 0.4, 0.6))
    ]
    folders = [write(tmp_path / name, own) for name, own in zip(("a-2d-t2w", "real"), rows, strict=True)]
    row = read_scores({"a": folders[0]}, real=folders[1]).experiments[0].rows[0]
    assert row["utility Dice/present classes"] == pytest.approx((0.5 + 0.75) / 2)
    assert row["real Dice/present classes"] == 0.6


def test_patients_are_compared_not_studies(folders):
    """Two patients a group, four studies each: the smallest p of two against two is 1/3; nobody was operated twice."""
    results = read_scores(folders)
    row = next(row for row in strata(results, "grade").rows if row[:2] == ["a", "2D"] and row[3] == "T2w PSNR dB")
    assert row[4:7] == ["all phases", "16.00 (2)", "18.00 (2)"]
    assert float(row[7]) == pytest.approx(1 / 3, abs=0.005)
    assert strata(results, "reoperation").rows == []


def test_baselines_stand_in_tables_and_lead_no_ranking(folders):
    results = read_scores(folders)
    assert [row[1] for row in fidelity(results, "T2w").rows[-3:]] == ["ioUS as it is"] * 3
    best = next(table for table in leaderboards(results) if table.name == "top_T2w_PSNR")
    assert [row[2] for row in best.rows if row[0] == "all phases"] == ["b", "a"]
    against = [row for row in comparisons(results).rows if row[0] == "T2w PSNR dB"]
    assert [row[2:5] for row in against] == [
        ["a-2d-t2w", "-0.25 (-0.25 to -0.25)", "8"], ["ioUS as it is", "-3.75 (-3.75 to -3.75)", "8"],
    ]  # fmt: skip
    assert [float(row[5]) for row in against] == [0.0078, 0.0078]  # the smallest p of eight pairs: 2 / 2^8


def test_a_baseline_beside_several_experiments_has_what_each_knows_of_it(tmp_path):
    """T2w alone, both contrasts, another study, and last a baseline of the same name that scores otherwise."""
    image, outline = {"T2w/prediction/PSNR": 15.0, "T2w/map/PSNR": 12.0}, {"Dice/prediction/tumour": 0.5}
    flair = {"FLAIR/prediction/PSNR": 16.0, "FLAIR/map/PSNR": 13.0, "Dice/map/tumour": 0.25, **outline}
    written = {
        "a": [study("P0", "pre", **image)], "b": [study("P0", "pre", **image, **flair)],
        "c": [study("P1", "pre", **{**image, "T2w/map/PSNR": 11.0})],
        "d": [study("P0", "pre", **{**image, "T2w/map/PSNR": 12.5})],
    }  # fmt: skip
    for order in (["a", "b", "c", "d"], ["b", "c", "a", "d"]):
        folder = tmp_path / "".join(order)
        results = read_scores({name: write(folder / name, written[name]) for name in order})
        found = {one.name: {row["case"]: row for row in one.rows} for one in results.baselines}
        assert set(found) == {"map", "map of d"}
        keys = ("T2w/PSNR", "FLAIR/PSNR", "Dice/tumour")
        scores = {case: [row.get(key) for key in keys] for case, row in found["map"].items()}
        assert scores == {"P0-pre": [12.0, 13.0, 0.25], "P1-pre": [11.0, None, None]}
        assert found["map of d"]["P0-pre"]["T2w/PSNR"] == 12.5


@pytest.mark.parametrize(
    ("other", "message"),
    [({"simulated": True}, "other terms than a-2d-t2w (simulated); report simulated and real cases apart"),
     ({"region": "fan"}, "other terms than a-2d-t2w (protocol); evaluate it again")],
)  # fmt: skip
def test_what_does_not_compare_is_refused(folders, tmp_path, capsys, other, message):
    strange = write(tmp_path / "strange", rows_of(0.5), **other)
    assert cli.main(["report", str(folders["a-2d-t2w"]), str(strange), "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bad_folders_are_named(folders, tmp_path, capsys):
    first = str(folders["a-2d-t2w"])
    (tmp_path / "empty").mkdir()
    for given, message in (([str(tmp_path / "empty")], "give a folder that `iousynth evaluate` has written"),
                           ([first, first], "a-2d-t2w: is the name of two experiments")):  # fmt: skip
        assert cli.main(["report", *given, "-o", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


def test_what_a_model_knows_of_itself_and_costs(tmp_path):
    """Tables of expected error, expected Dice and time; a point for each bin and phase; pictures in the page itself."""
    rows = rows_of(0.5)
    for number, row in enumerate(rows):
        row |= {"expected error/prediction/expected over true error": 0.5, "run/prediction/seconds": 10.0 + number}
        row |= {f"expected error/prediction/2.5 to 5 % {kind}": value
                for kind, value in (("expected", 0.04), ("true", 0.08), ("share", 0.25))}  # fmt: skip
        row["expected Dice/prediction/tumour"] = 0.5
    folder = write(tmp_path / "a-3d-t2w", rows[::-1])
    timing = {"device": "cuda", "seconds": 4.886, "parameters": 5_420_000, "multiplications": 2.3456e12, "gpu_mib": 512}
    (folder / "timing.json").write_text(json.dumps(timing))
    image = np.full((20, 30, 3), (200, 10, 90), np.uint8)
    panels = {"ultrasound": image, "T2w": image, "T2w synthetic": image}
    write_pictures(folder / "pictures.npz", {row["case"]: panels for row in rows})
    assert cli.main(["report", str(folder), "-o", str(tmp_path / "report")]) == 0
    found = {name: (tmp_path / "report" / f"{name}.csv").read_text().splitlines()
             for name in ("calibration", "expected_dice", "footprint")}  # fmt: skip
    assert found["calibration"][1:3] == [
        "a,3D,T2w only,all phases,8,0.50 (0.50 to 0.50),-,-",
        "a,3D,T2w only,before resection,4,0.50 (0.50 to 0.50),-,-",
    ]
    dice, differences = DICE[:, 0] / 2, np.abs(DICE[:, 0] / 2 - 0.5)
    assert found["expected_dice"][2] == (
        f"a,3D,T2w only,tumour,before resection,4,0.50,{dice.mean():.2f},{differences.mean():.2f}"
    )
    assert found["footprint"][1] == 'a,3D,T2w only,5.42,"2,346",cuda,4.89,0.50,13.5 (11.5 to 15.5),-'
    chart = (tmp_path / "report" / "calibration_a-3d-t2w.svg").read_text()
    assert chart.count("<circle") == 2
    assert "before resection: 2.5 to 5 % expected, 25% of the voxels, n=4" in chart
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 2
    assert Parsed(page).asked == []
    examples = np.asarray(Image.open(tmp_path / "report" / "examples.png"))
    assert (examples == (200, 10, 90)).all(-1).sum() == 6 * 20 * 30, "two studies: ultrasound, acquired, synthetic"
    for name in ("Time and memory", "Pictures", "Calibration"):
        assert f"<li>{name}" not in page
    assert "<li>Regions (table 8): <code>iousynth evaluate --roi</code>.</li>" in page
    rows = (tmp_path / "report" / "cohort.csv").read_text().splitlines()
    assert rows[1].startswith('P0,"before resection, after resection"')


def test_charts_put_marks_to_scale():
    """From 0 to 1 over 290 pixels; the better is the darker, also where less is better."""
    drawn = marks("Dice", {"a": [Mark("before", 0.5, 0.0, 1.0)]}, reference=0.0)
    assert re.search(r'<circle cx="395.0"', drawn)
    assert re.search(r'<line x1="250.0" y1="[\d.]+" x2="540.0"', drawn)
    late = marks("Dice", {"a": [Mark("after", 0.5)]}, bars=True, order=("before", "after"))
    assert re.search(r'height="10" fill="#d55e00" fill-opacity', late), "a phase has its colour also where it is alone"
    assert ">after<" in late
    assert ">before<" not in late, "what is not drawn is not in the legend"
    cells = {("a", "2D"): 0.1, ("a", "3D"): 0.2}
    fills = re.findall(r'fill="(rgb[^"]+)"', heat_map("LPIPS", cells, digits=1, lower_is_better=True))
    assert fills == ["rgb(8,81,156)", "rgb(255,255,255)"]


def test_no_words_of_a_chart_are_cut_off():
    """Of Arial's mean widths, 6.2 pixels a letter of labels and 7.6 of bold headings."""
    title = "FLAIR, SSIM in the fan, all phases (higher is better), mean and 95 % interval"
    label = "swin-pix2pix, 2D + 3D-refine, T2w + FLAIR, with a remark"
    families = ("pix2pix", "swin-pix2pix", "cyclegan", "cut", "resvit", "syndiff")
    charts = [
        marks(title, {label: [Mark(family, 0.5) for family in families]}),
        scatter(title, {family: (family, 0.1, 0.2) for family in families}, axes=("PSNR", "Dice")),
        heat_map(title, {("a", "2D"): 0.1, ("a", "3D"): 0.2}, digits=1),
    ]
    for chart in charts:
        width = int(re.search(r'viewBox="0 0 (\d+)', chart)[1])
        lines = re.findall(r"<tspan[^>]*>([^<]+)", chart) + re.findall(r'font-size="13">([^<]+)', chart)
        assert len(lines) > 1
        assert all(12 + 7.6 * len(line) < width for line in lines)
        assert sorted(" ".join(lines).split()) == sorted(title.split())
        lying = re.findall(r'<text x="([\d.]+)" y="[1-9][\d.]+" text-anchor="(\w+)"[^>]*>([^<]+)', chart)
        for x, anchor, words in lying:
            ends = {"end": (-1, 0), "start": (0, 1), "middle": (-0.5, 0.5)}[anchor]
            assert all(0 <= float(x) + side * 6.2 * len(words) <= width for side in ends), words


# Published results ----------------------------------------------------------------------------------------------------


def test_published_leaderboards_come_out(tmp_path):
    """Tables 5 to 7 from the means of the 48 experiments; those that are equal as printed may change places."""
    folders = {}
    for name, targets in (("table02_t2w_single_target.csv", ""), ("table03_t2w_multi_task.csv", "-flair")):
        for row in published(TABLES / name):
            scores = {f"T2w/prediction/{m}": float(row[c]) for m, c in COLUMNS.items()}
            scores |= {"FLAIR/prediction/PSNR": 15.0} if targets else {}
            experiment = f"{row['family']}-{REGIMES[row['regime']]}-t2w{targets}"
            folders[experiment] = write(tmp_path / experiment, [study("P1", "pre", **scores)])
    found = {table.name: table for table in leaderboards(read_scores(folders))}
    for table, metric in (("05_top10_ssim", "SSIM"), ("06_top10_psnr", "PSNR"), ("07_top10_lpips", "LPIPS")):
        expected = published(TABLES / f"table{table}.csv")
        rows = found[f"top_T2w_{metric}"].rows
        assert [row[-1] for row in rows] == [row[COLUMNS[metric]] for row in expected]
        names = {(row["family"], row["regime"].replace("Full-", ""), row["target"]) for row in expected}
        assert {tuple(row[2:5]) for row in rows} == names


def test_published_order_of_utility_comes_out(tmp_path):
    """Table 11: a mean of ratios of its printed figures; on real MRI every Dice and NSD is 1 here."""
    folders: dict[str, list[Row]] = {}
    for row in published(TABLES / "table11_downstream_utility.csv"):
        phase = "pre" if row["class"] == "tumour" else "post"
        scores = {f"{m}/prediction/{row['class']}": float(row[c]) for m, c in (("Dice", "u_dice"), ("NSD", "u_nsd2mm"))}
        name = f"{row['family']}-{REGIMES[row['regime']]}-t2w{'-flair' * bool(row['target_note'])}"
        folders.setdefault(name, []).append(study("P1", phase, **scores))
    real = [study("P1", phase, **{f"{m}/prediction/{s}": 1.0 for m in ("Dice", "NSD")})
            for phase, s in (("pre", "tumour"), ("post", "cavity"))]  # fmt: skip
    written = {name: write(tmp_path / name, rows) for name, rows in reversed(folders.items())}
    results = read_scores(written, real=write(tmp_path / "real", real))
    assert [e.name for e in by_utility(results.experiments)] == list(folders)


def test_published_scores_of_studies_give_the_printed_rows(tmp_path):
    """Four methods of table 2 from their 30 studies, by patient and phase, and grades of table 12."""
    grades = {row["id"]: row["grade"] for row in published(TABLES / "table12_test_cohort.csv")}
    studies: dict[str, list[Row]] = {}
    for row in published(RESULTS / "per_subject_metrics_subset_T2.csv"):
        patient, phase = row["subject"].rsplit("-", 1)
        scores = {f"T2w/prediction/{m}": float(row[m.lower()]) for m in ("SSIM", "PSNR", "MAE", "LPIPS")}
        studies.setdefault(row["method"], []).append(study(patient, phase, grade=grades[patient], **scores))
    results = read_scores({name: write(tmp_path / name, rows) for name, rows in studies.items()})
    rows = {(row[0].lower(), row[1]): row for row in fidelity(results, "T2w").rows if row[3] == "all phases"}
    printed = {(r["family"].lower(), r["regime"].replace("Full-", "")): r
               for r in published(TABLES / "table02_t2w_single_target.csv")}  # fmt: skip
    assert len(rows) == 4
    for key, row in rows.items():
        expected = [
            "{} ({} to {})".format(*(printed[key][f"{c}{end}"] for end in ("", "_ci_low", "_ci_high")))
            for c in ("psnr_db", "lpips", "ssim", "mae")
        ]
        assert row[5:7] == expected[:2] or key[0] == "pix2pix", row  # LPIPS of that one is of another run
        assert (row[5], *row[7:]) == (expected[0], *expected[2:])
    assert all(float(row[-2]) > 0.05 for row in strata(results, "grade").rows if row[4] == "all phases")
