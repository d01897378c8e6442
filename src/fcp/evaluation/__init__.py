"""Evaluation of a model: metrics, the run over episodes, and the report with its card."""
