"""The page of `podcast_outros`."""

from __future__ import annotations

from avlake.stages.pages.base import Page


def render(page: Page) -> bytes:
    raise NotImplementedError
