"""Module ``SampleData``: registration of sample data sets, their download (file:// too) and check of their SHA-256."""

from __future__ import annotations

import hashlib
import logging
import types
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk

from . import version

_PER_FILE = ("fileNames", "nodeNames", "checksums", "loadFiles", "loadFileTypes")


def _listed(value: Any, count: int, spread: bool) -> list:
    """One value for each file."""
    if isinstance(value, list | tuple):
        return list(value)
    return [value] * count if spread or count == 1 else [value]


class SampleDataSource:
    """One data set: addresses, file names, node names, checksums.

    :raises ValueError: if the lists differ in length.
    """

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Callable | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFileProperties: dict | None = None,
    ) -> None:
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        self.uris = [uris] if isinstance(uris, str) else list(uris)
        given = (fileNames, nodeNames, checksums, loadFiles, loadFileTypes)
        for name, value in zip(_PER_FILE, given, strict=True):
            spread = value is None or (name == "loadFileTypes" and isinstance(value, str))
            setattr(self, name, _listed(value, len(self.uris), spread))
        lengths = {name: len(getattr(self, name)) for name in ("uris", *_PER_FILE)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"All lists of a sample data source must have the same length: {lengths}")

    def _content(self) -> tuple:
        return tuple((key, str(value)) for key, value in sorted(vars(self).items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SampleDataSource) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())


def _is_as_expected(path: Path, checksum: str | None) -> bool:
    """Compare a file with "SHA256:<digest>".

    :raises ValueError: if that reads otherwise.
    """
    if not checksum:
        return True
    algorithm, separator, digest = checksum.partition(":")
    if not separator or algorithm.upper() not in ("SHA256", "SHA512", "MD5"):
        raise ValueError(f"A checksum reads like SHA256:<digest>, not {checksum!r}")
    return hashlib.new(algorithm.lower(), path.read_bytes()).hexdigest() == digest.lower()


class SampleDataLogic:
    """Registration and download."""

    def __init__(self, logMessage: Callable | None = None) -> None:
        self.logMessage = logMessage or logging.info

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: dict | None = None,
        checksums: Any = None,
    ) -> None:
        """Add a data set to a category; the same one is not added twice."""
        source = SampleDataSource(
            sampleName=sampleName, uris=uris, fileNames=fileNames, nodeNames=nodeNames, checksums=checksums,
            loadFiles=loadFiles, customDownloader=customDownloader, thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes, loadFileProperties=loadFileProperties,
        )  # fmt: skip
        registered = SampleDataLogic.sampleDataSourcesByCategory().setdefault(category, [])
        if source not in registered:
            registered.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category: str, sampleDataSource: SampleDataSource) -> bool:
        return sampleDataSource in SampleDataLogic.sampleDataSourcesByCategory(category)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        every = [source for sources in self.sampleDataSourcesByCategory().values() for source in sources]
        return next((source for source in every if source.sampleName == sampleName), None)

    def downloadFileIntoCache(self, uri: str, name: str, checksum: str | None = None) -> str:
        """Fetch one file, unless it is there already; returns its path, also where its checksum differs and the file
        is removed again.

        :raises ValueError: if it cannot be fetched.
        """
        folder = Path(slicer.app.cachePath)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        if path.exists() and not _is_as_expected(path, checksum):
            path.unlink()
        if not path.exists():
            try:
                urllib.request.urlretrieve(uri, path)
            except OSError as error:
                logging.error(f"Download failed: {error}")
                raise ValueError(f"Failed to download {uri} to {path}") from error
            if not _is_as_expected(path, checksum):
                logging.error(f"{path.name} does not have the checksum {checksum}")
                path.unlink()
        return str(path)

    def downloadFromSource(self, source: SampleDataSource, maximumAttemptsCount: int = 3) -> list:
        """Fetch and load a data set; returns its nodes (paths where a file is not to be loaded).

        As in Slicer, what cannot be fetched or loaded is left out of the list without an exception; a custom downloader
        plays no part here: the button of the data set calls it, and it may call this.
        """
        columns = (source.uris, *(getattr(source, name) for name in _PER_FILE))
        results = []
        for uri, file, node, checksum, load, kind in zip(*columns, strict=True):
            for _attempt in range(maximumAttemptsCount):
                try:
                    path = self.downloadFileIntoCache(uri, file, checksum)
                except ValueError:
                    continue
                result = path if load is False else self._load(path, node, kind, source.loadFileProperties)
                if result is not None:
                    results.append(result)
                    break
                Path(path).unlink(missing_ok=True)
        return results

    def _load(self, path: str, name: str | None, kind: str | None, properties: dict) -> Any:
        """The first node of a file, or None."""
        self.logMessage(f"Loading {path}")
        nodes, manager = vtk.vtkCollection(), slicer.app.coreIOManager()
        properties = {**properties, "fileName": path, **({"name": name} if name else {})}
        manager.loadNodes(kind or manager.fileType(path), properties, nodes)
        if nodes.GetNumberOfItems() == 0:
            logging.error(f"{path} could not be loaded")
        return nodes.GetItemAsObject(0)

    def downloadSamples(self, sampleName: str) -> list:
        """Fetch and load a data set by its name.

        :raises ValueError: if there is none of that name.
        """
        source = self.sourceForSampleName(sampleName)
        if source is None:
            raise ValueError(f"There is no sample data set named {sampleName!r}")
        return self.downloadFromSource(source)

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]


def _register_category(category: str, title: str) -> None:
    """Give a category the title that its users see."""
    if not hasattr(slicer.modules, "sampleDataSourceCategories"):
        slicer.modules.sampleDataSourceCategories = {}
    slicer.modules.sampleDataSourceCategories.setdefault(category, {})["title"] = title


def show_version() -> None:
    """Have what came with Slicer 5.12 only there."""
    if version.at_least(5, 12):
        SampleDataLogic.registerCustomSampleDataCategory = staticmethod(_register_category)
    elif hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):
        del SampleDataLogic.registerCustomSampleDataCategory


def make_module() -> types.ModuleType:
    """The module object for ``SampleData``."""
    module = types.ModuleType("SampleData", __doc__)
    module.SampleDataLogic, module.SampleDataSource = SampleDataLogic, SampleDataSource
    show_version()
    module.downloadSample = lambda name: SampleDataLogic().downloadSample(name)
    module.downloadSamples = lambda name: SampleDataLogic().downloadSamples(name)
    return module
