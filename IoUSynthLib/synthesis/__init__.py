"""The steps of the pipeline: grid, outlines, quality of the input, report."""
