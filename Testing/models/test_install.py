"""Models that are put into the user's folder and taken out again: all or nothing, and nothing that leads elsewhere."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile

import pytest
from support.tiny_models import generator_network, write_bundle

from IoUSynthLib import cli
from IoUSynthLib.inference import open_session
from IoUSynthLib.models import bundle
from IoUSynthLib.models import install as installing
from IoUSynthLib.models.install import install, remove
from IoUSynthLib.volume import InputError

METADATA = "configs/metadata.json"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's model folder, and none before it; it does not exist yet."""
    folder = tmp_path / "home" / "models"
    monkeypatch.delenv("IOUSYNTH_MODELS", raising=False)
    for module in (bundle, installing):
        monkeypatch.setattr(module, "user_folder", lambda: folder)
    return folder


@pytest.fixture
def model(tmp_path):
    pytest.importorskip("onnx")
    return write_bundle(tmp_path / "given" / "tiny", generator_network())


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(model, path, prefix="tiny/"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents(model).items():
            archive.writestr(prefix + name, content)
    return path


def zipped_by_powershell(model, path):
    """With backslashes, and entries for folders, as Compress-Archive of Windows PowerShell 5.1 writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"configs/": b"", **contents(model)}.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system = "tiny\\" + name.replace("/", "\\"), 0
            archive.writestr(info, content)
    return path


def tarred(model, path, prefix="tiny/", *extra):
    """A .tar.gz of the bundle, with the extra entries (and their contents) before it."""
    with tarfile.open(path, "w:gz") as archive:
        for entry, content in extra:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, content in contents(model).items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def entry(name, kind=tarfile.REGTYPE, target=""):
    result = tarfile.TarInfo(name)
    result.type, result.linkname = kind, target
    return result


def complaint(source, **options):
    """The one line with which an installation is refused, with cause and remedy."""
    with pytest.raises(InputError) as caught:
        install(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message
    return message


@pytest.mark.parametrize(
    "pack",
    [
        lambda model, folder: model,
        lambda model, folder: zipped(model, folder / "tiny-0.0.1.zip"),
        lambda model, folder: zipped(model, folder / "tiny.zip", prefix=""),
        lambda model, folder: tarred(model, folder / "tiny-0.0.1.tar.gz"),
        lambda model, folder: tarred(model, folder / "tiny.tgz", prefix="./"),
        lambda model, folder: tarred(model, folder / "mac.tar.gz", "tiny/", (entry("__MACOSX/._tiny"), b"junk")),
        lambda model, folder: zipped_by_powershell(model, folder / "tiny.zip"),
        lambda model, folder: zipped(model, folder / "models-main.zip", prefix="models-main/brain/tiny/"),
        lambda model, folder: tarred(model, folder / "models-1.0.tar.gz", "models-1.0/brain/tiny/"),
        lambda model, folder: zipped(model, folder / "tiny (1).zip", prefix=""),
    ],
    ids=[
        "folder", "zip", "bare zip", "tar.gz", "bare tgz", "with litter", "of PowerShell", "of GitHub", "tar of GitHub",
        "numbered by a browser",
    ],
)
def test_a_model_is_installed_once_and_found_by_name(pack, model, home, tmp_path):
    source = pack(model, tmp_path)
    installed, outcome = install(source)
    assert outcome == "installed"
    assert installed.path == (home / "tiny").resolve()
    assert contents(home / "tiny") == contents(model)
    assert bundle.load("tiny").path == installed.path
    open_session(bundle.load("tiny"), "cpu")
    assert install(source)[1] == "already there"
    assert [path.name for path in home.iterdir()] == ["tiny"]
    assert remove("tiny") == home
    assert list(home.iterdir()) == []
    assert model.is_dir()


def test_another_model_of_the_name_is_replaced_only_when_asked(model, home, tmp_path):
    install(model)
    before = contents(home / "tiny")
    other = write_bundle(tmp_path / "other" / "tiny", generator_network(), overlap=0.5)
    message = complaint(other)
    assert "tiny: is another model of this name (version 0.0.1), which would be replaced; add --replace" in message
    assert contents(home / "tiny") == before
    assert install(other, replace=True)[1] == "replaced"
    assert bundle.load("tiny").overlap == 0.5
    assert [path.name for path in home.iterdir()] == ["tiny"]
    (home / "tiny" / METADATA).write_text("{")
    assert "(damaged)" in complaint(model)
    assert install(model, replace=True)[1] == "replaced"


def test_a_licence_that_restricts_use_must_be_accepted(home, tmp_path, capsys):
    pytest.importorskip("onnx")
    licence = "LicenseRef-NVIDIA-Source-Code-License-NC"
    restricted = write_bundle(tmp_path / "given" / "tiny", generator_network(), licence=licence)
    shown = []
    assert licence in complaint(restricted)
    complaint(restricted, accept=lambda given: shown.append((given.path / "LICENSE").read_text()))
    assert shown == ["Apache-2.0\n"]
    assert list(home.iterdir()) == []
    assert cli.main(["models", "install", str(restricted)]) == 2
    assert "--accept-licence" in capsys.readouterr().err
    assert cli.main(["models", "install", str(restricted), "--accept-licence"]) == 0
    assert install(restricted)[1] == "already there"


def test_a_replacement_that_fails_leaves_the_old_model(model, home, tmp_path, monkeypatch):
    install(model)
    before = contents(home / "tiny")
    other = write_bundle(tmp_path / "other" / "tiny", generator_network(), overlap=0.5)
    move = installing.os.replace

    def fail(source, target):
        if target == home / "tiny" and "new" in source.parts:
            raise OSError(5, "Input/output error")
        move(source, target)

    monkeypatch.setattr(installing.os, "replace", fail)
    assert "cannot be written (Input/output error)" in complaint(other, replace=True)
    assert contents(home / "tiny") == before
    assert [path.name for path in home.iterdir()] == ["tiny"]


def test_a_model_that_ships_is_hidden_only_when_asked(model, home, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "_shipped_folder", lambda: tmp_path / "shipped")
    write_bundle(tmp_path / "shipped" / "tiny", generator_network(), overlap=0.5)
    assert "which would be hidden; add --replace" in complaint(model)
    assert install(model, replace=True)[1] == "installed"
    assert bundle.load("tiny").path == (home / "tiny").resolve()
    assert [bundle.origin(path) for path in bundle.bundle_paths()] == ["installed", "shipped"]
    remove("tiny")
    with pytest.raises(InputError, match=r"tiny: was not installed but lies in .*shipped; remove it there by hand"):
        remove("tiny")
    assert bundle.load("tiny").overlap == 0.5


def test_a_model_that_is_named_before_is_told_of(model, home, tmp_path, monkeypatch):
    named = write_bundle(tmp_path / "named" / "tiny", generator_network(), overlap=0.5).parent
    monkeypatch.setenv("IOUSYNTH_MODELS", str(named))
    assert install(model)[1] == f"installed, but the model of this name in {named} comes first"
    assert bundle.load("tiny").overlap == 0.5
    assert [bundle.origin(path) for path in bundle.bundle_paths()][:2] == ["$IOUSYNTH_MODELS", "installed"]


LINK = (entry("tiny/link", tarfile.SYMTYPE, "/etc/passwd"), b"")


@pytest.mark.parametrize(
    ("extra", "cause"),
    [
        ((entry("../evil"), b"x"), r"holds the path '../evil', which leads elsewhere"),
        ((entry("tiny/../../evil"), b"x"), "leads elsewhere"),
        ((entry("/evil"), b"x"), "leads elsewhere"),
        ((entry("C:evil"), b"x"), "leads elsewhere"),
        ((entry("tiny\\evil"), b"x"), "leads elsewhere"),
        (LINK, "'tiny/link' is a link or a special file"),
        ((entry("tiny/hard", tarfile.LNKTYPE, "tiny/LICENSE"), b""), "is a link or a special file"),
        ((entry("tiny/pipe", tarfile.FIFOTYPE), b""), "is a link or a special file"),
        ((entry("tiny/null", tarfile.CHRTYPE), b""), "is a link or a special file"),
        ((entry("TINY/license"), b"x"), "holds 'tiny/LICENSE' twice"),
        ((entry("second/configs/metadata.json"), b"{}"), r"holds several models \(second, tiny\)"),
    ],
)  # fmt: skip
def test_archives_that_are_not_to_be_trusted(extra, cause, model, home, tmp_path):
    source = tarred(model, tmp_path / "bad.tar.gz", "tiny/", extra)
    with pytest.raises(InputError, match=cause):
        install(source)
    assert list(home.iterdir()) == []
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("name", ["..\\evil", "tiny\\..\\..\\evil", "C:\\evil", "\\evil"])
def test_backslashes_in_zip_archives_lead_nowhere_else(name, model, home, tmp_path):
    source = zipped(model, tmp_path / "bad.zip")
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(name, "x")
    assert "leads elsewhere" in complaint(source)
    assert not list(tmp_path.rglob("*evil*"))


def test_links_in_zip_archives_and_folders(model, home, tmp_path):
    source = zipped(model, tmp_path / "tiny.zip")
    with zipfile.ZipFile(source, "a") as archive:
        link = zipfile.ZipInfo("tiny/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert "'tiny/link' is a link" in complaint(source)
    with zipfile.ZipFile(zipped(model, tmp_path / "path.zip"), "a") as archive:
        archive.writestr("../evil", "x")
    assert "leads elsewhere" in complaint(tmp_path / "path.zip")
    (model / "docs" / "link").symlink_to(tmp_path)
    assert "'docs/link' is a link" in complaint(model)
    assert list(home.iterdir()) == []


def test_absurd_sizes(model, home, tmp_path, monkeypatch):
    source = tarred(model, tmp_path / "tiny.tar.gz", "tiny/", (entry("tiny/zeros"), bytes(2**20)))
    monkeypatch.setattr(installing, "MOST_BYTES", 2**19)
    assert "which no model needs" in complaint(source)
    monkeypatch.setattr(installing, "MOST_BYTES", 2**30)
    monkeypatch.setattr(installing, "MOST_FILES", 3)
    assert "holds more than 3 files or 1 GiB" in complaint(source)
    assert list(home.iterdir()) == []


def test_checksums_of_files_elsewhere_are_not_read(home, tmp_path):
    network = generator_network()
    sums = {"models/model.onnx": bundle.hashlib.sha256(network).hexdigest(), "../../secret": "0" * 64}
    path = write_bundle(tmp_path / "given" / "tiny", network, checksums=sums)
    assert "holds the path '../../secret'" in complaint(path)


def break_licence(model):
    (model / "LICENSE").write_text("")


def break_licence_entry(model):
    text = (model / METADATA).read_text()
    (model / METADATA).write_text(text.replace('"licence": "Apache-2.0"', '"licence": ""'))


def break_network(model):
    with (model / "models" / "model.onnx").open("ab") as file:
        file.write(b"\0")


def break_download(model):
    (model / "models" / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


BROKEN = {
    "Git LFS": (break_download, "models/model.onnx is a pointer of Git LFS"),
    "not a bundle": (lambda model: shutil.rmtree(model / "configs"), "is not a model: there is no configs/metadata"),
    "other metadata": (lambda model: (model / METADATA).write_text("{}"), f"{METADATA}: is not the metadata"),
    "no network": (lambda model: (model / "models" / "model.onnx").unlink(), "models/model.onnx: is missing"),
    "checksum": (break_network, "models/model.onnx: its checksum does not match"),
    "no licence file": (break_licence, "states no licence"),
    "no licence": (break_licence_entry, "states no licence"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_sound_bundle_is_refused_in_one_line(name, model, home, tmp_path, capsys):
    damage, cause = BROKEN[name]
    damage(model)
    for source in (model, zipped(model, tmp_path / "tiny.zip"), tarred(model, tmp_path / "tiny.tar.gz")):
        assert cli.main(["models", "install", str(source)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {source}: ")
        assert cause in error
        assert error.count("\n") == 1
        assert ".iousynth-" not in error
    assert not home.exists() or list(home.iterdir()) == []


def test_damaged_archives(model, home, tmp_path, capsys):
    for source in (zipped(model, tmp_path / "tiny.zip"), tarred(model, tmp_path / "tiny.tar.gz")):
        whole = source.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 3] ^= 0xFF
        for content in (whole[: len(whole) // 2], b"no archive", b"", bytes(flipped)):
            source.write_bytes(content)
            assert cli.main(["models", "install", str(source)]) == 2
            error = capsys.readouterr().err
            assert error.startswith(f"error: {source}: ")
            assert error.count("\n") == 1
            assert "again" in error
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["tiny.zip", "tiny.tar.gz"])
def test_what_a_download_left_in_the_place_of_an_archive(name, home, tmp_path):
    source = tmp_path / name
    source.write_text("\ufeff\n<!DOCTYPE html><html>Sign in</html>", encoding="utf-8")
    assert "is a web page, not an archive, such as one to sign in; download" in complaint(source)
    source.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n")
    assert "is a pointer of Git LFS, not the file itself; download it with git lfs pull" in complaint(source)


def test_other_sources(model, home, tmp_path):
    assert "no such file or folder" in complaint(tmp_path / "none.zip")
    (tmp_path / "model.onnx").write_bytes(b"x")
    assert "neither a bundle's folder nor an archive of one (.zip, .tar.gz" in complaint(tmp_path / "model.onnx")
    assert "cannot be a model's name" in complaint(model.rename(model.parent / "my model"))
    assert "is not a model" in complaint(model.parent)


def test_a_folder_that_cannot_be_written_and_a_full_disk(model, home, tmp_path, monkeypatch):
    home.parent.parent.mkdir(exist_ok=True)
    home.parent.write_text("a file is in the way")
    assert f"{home}: cannot be written (Not a directory); make it writable" in complaint(model)
    home.parent.unlink()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installing, "_copy", full)
    assert "cannot be written (No space left on device); free space on its disk" in complaint(model)
    assert list(home.iterdir()) == []


def test_command_line(model, home, capsys):
    assert cli.main(["models", "install", str(model)]) == 0
    assert capsys.readouterr().out == f"tiny  0.0.1  Apache-2.0  {(home / 'tiny').resolve()}: installed\n"
    assert cli.main(["models", "list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("tiny  ")]
    assert "  Apache-2.0  installed  " in line
    assert cli.main(["models", "remove", "tiny"]) == 0
    assert capsys.readouterr().out == f"tiny: removed from {home}\n"
    for name in ("tiny", "../given/tiny", ""):
        assert cli.main(["models", "remove", name]) == 2
        assert f"{name}: no such model in {home} (installed: none)" in capsys.readouterr().err
    assert model.is_dir()


def test_a_linked_model_is_unlinked_and_stays_where_it_is(model, home):
    home.mkdir(parents=True)
    (home / "tiny").symlink_to(model)
    remove("tiny")
    assert not (home / "tiny").exists()
    assert (model / METADATA).is_file()
