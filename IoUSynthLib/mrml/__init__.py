"""The only room that knows Slicer's scene: nodes to volumes and back, views, runs and sample data. Free of Qt."""
