"""One file per measurement; see `base` for what an extractor is."""
