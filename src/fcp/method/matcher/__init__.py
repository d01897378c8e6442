"""Matcher (arXiv 2305.13310): cells assigned both ways prompt SAM, transport chooses masks."""
