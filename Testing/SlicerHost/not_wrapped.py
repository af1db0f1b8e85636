"""What PySide6 has and PythonQt does not wrap: methods that came with Qt 6, and a few that its generator leaves out.

Compared with the wrappers of Qt 5.15 in PythonQt 3.6.1, by the name of the class that has the method. Methods of events
and others that C++ calls are left out of the list, although PythonQt lacks some of them, too.
"""

NOT_WRAPPED: dict[str, tuple[str, ...]] = {
    "QAbstractItemModel": ("checkIndex",),
    "QAbstractItemView": ("setKeyboardSearchFlags", "setUpdateThreshold"),
    "QAction": ("associatedObjects",),
    "QApplication": ("resolveInterface",),
    "QCalendarWidget": ("clearMaximumDate", "clearMinimumDate"),
    "QColumnView": ("isPreviewColumnVisible", "setPreviewColumnVisible"),
    "QComboBox": ("setLabelDrawingMode",),
    "QCoreApplication": (
        "checkPermission", "installNativeEventFilter", "instanceExists", "removeNativeEventFilter",
        "requestPermission", "resolveInterface",
    ),
    "QDateTimeEdit": ("setTimeZone",),
    "QDockWidget": ("setDockLocation",),
    "QFile": ("supportsMoveToTrash",),
    "QFontComboBox": (
        "sampleTextForFont", "sampleTextForSystem", "setDisplayFont", "setSampleTextForFont", "setSampleTextForSystem",
    ),
    "QFormLayout": ("isRowVisible", "setRowVisible"),
    "QGridLayout": ("getItemPosition",),
    "QGuiApplication": ("nativeInterface", "platformFunction", "resolveInterface"),
    "QHeaderView": ("isSortIndicatorClearable", "setSortIndicatorClearable"),
    "QIdentityProxyModel": (
        "handleSourceDataChanges", "handleSourceLayoutChanges", "setHandleSourceDataChanges",
        "setHandleSourceLayoutChanges",
    ),
    "QKeySequenceEdit": ("isClearButtonEnabled", "setClearButtonEnabled", "setFinishingKeyCombinations"),
    "QLayout": (
        "getContentsMargins", "setHorizontalSizeConstraint", "setSizeConstraints", "setVerticalSizeConstraint",
        "totalMinimumHeightForWidth", "unsetContentsMargins",
    ),
    "QListWidget": ("setSupportedDragActions",),
    "QMenu": ("menuInAction",),
    "QMessageBox": ("buttonText", "setButtonText", "setOption", "setOptions", "standardIcon", "testOption"),
    "QObject": ("receivers",),
    "QOffscreenSurface": ("resolveInterface",),
    "QOpenGLContext": ("extraFunctions", "getProcAddress", "resolveInterface"),
    "QPdfWriter": (
        "author", "colorModel", "documentId", "outputIntent", "setAuthor", "setColorModel", "setDocumentId",
        "setOutputIntent",
    ),
    "QProcess": ("failChildProcessModifier", "setUnixProcessParameters", "startCommand", "unixProcessParameters"),
    "QScreen": ("nativeInterface", "resolveInterface"),
    "QScrollBar": ("createStandardContextMenu",),
    "QSharedMemory": ("isKeyTypeSupported", "legacyNativeKey", "nativeIpcKey", "platformSafeKey"),
    "QShortcut": ("keys", "setKeys"),
    "QSocketNotifier": ("isValid", "setSocket"),
    "QSortFilterProxyModel": (
        "beginFilterChange", "endFilterChange", "invalidateColumnsFilter", "invalidateRowsFilter",
        "setAutoAcceptChildRows",
    ),
    "QSplitter": ("getRange",),
    "QStyle": ("name",),
    "QStyleHints": ("setColorScheme", "setContextMenuTrigger", "unsetColorScheme"),
    "QTableWidget": ("setSupportedDragActions",),
    "QTemporaryFile": ("renameOverwrite",),
    "QTextDocument": (
        "baselineOffset", "isLayoutEnabled", "setBaselineOffset", "setLayoutEnabled", "setSubScriptBaseline",
        "setSuperScriptBaseline", "subScriptBaseline", "superScriptBaseline",
    ),
    "QThread": ("isCurrentThread", "isMainThread", "serviceLevel", "setServiceLevel"),
    "QThreadPool": ("serviceLevel", "setServiceLevel", "setThreadPriority", "startOnReservedThread"),
    "QTimer": ("id", "intervalAsDuration", "remainingTimeAsDuration"),
    "QTreeWidget": ("setSupportedDragActions",),
    "QWidget": (
        "create", "find", "internalWinId", "isTopLevel", "setAccessibleIdentifier", "setScreen", "topLevelWidget",
    ),
    "QWindow": ("resolveInterface", "safeAreaMargins"),
    "QWizard": ("setDefaultProperty",),
}
