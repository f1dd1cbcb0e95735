"""What one archive of unknown origin may cost, and which names its members may have."""

from __future__ import annotations

import re
from dataclasses import dataclass

from avlake.errors import Quarantined
from avlake.settings import MIB, Settings

RATIO_FROM_BYTES = 16 * MIB  # a small archive's padding packs very well: its ratio says nothing
UNSAFE = re.compile(r"^/|^[A-Za-z]:|\\|[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Limits:
    """What one archive may cost."""

    max_members: int
    max_bytes: int
    max_ratio: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(settings.archive_max_members, settings.archive_max_mb * MIB, settings.archive_max_ratio)


def checked_name(given: str) -> str:
    """A member's name without `./` and doubled slashes.

    Raises:
        Quarantined: `unsafe_path`, for one that could lead out of the archive's own folder.
    """
    parts = [part for part in given.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or UNSAFE.search(given):
        raise Quarantined("unsafe_path", f"a member is named {given[:200]!r}")
    return "/".join(parts)


class Budget:
    """How many bytes an archive of `packed_bytes` may unpack to."""

    def __init__(self, packed_bytes: int, limits: Limits) -> None:
        self._most = min(limits.max_bytes, int(max(limits.max_ratio * packed_bytes, RATIO_FROM_BYTES)))
        self._ratio_rules = self._most < limits.max_bytes
        self.spent = 0

    def reserve(self, size: int) -> None:
        """Refuse before reading what would pass the limit.

        Raises:
            Quarantined: `suspicious_ratio` or `archive_too_large`.
        """
        if self.spent + size > self._most:
            word = "suspicious_ratio" if self._ratio_rules else "archive_too_large"
            raise Quarantined(word, f"unpacks to more than {self._most} bytes")

    def spend(self, size: int) -> None:
        self.reserve(size)
        self.spent += size
