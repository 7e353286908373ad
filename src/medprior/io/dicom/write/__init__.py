"""DICOM out: images, segmentations, parametric maps, structured reports."""
