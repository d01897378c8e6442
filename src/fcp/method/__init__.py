"""Few-shot segmentation methods, one folder each."""
