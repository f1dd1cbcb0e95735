"""Loaded by the sandbox's child in tests: adds the extractor `hostile`, which misbehaves as it is told."""

from pathlib import Path

import avlake.extractors

avlake.extractors.__path__.append(str(Path(__file__).parent / "extractors"))
