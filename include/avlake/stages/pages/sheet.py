"""The sheet of clips to look at and listen to: those nearest each threshold on both sides, and duplicates.

Pictures and players come from the clips' standard forms in the lake, checked against their sha256 before anything
opens them; what is missing, damaged or too long for a page is said on the card instead.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from avlake.errors import Quarantined
from avlake.learn.data_card import records
from avlake.settings import MIB
from avlake.stages.contents import object_name
from avlake.stages.pages.decisions import RULES, Decisions, Rule, exists
from avlake.stages.pages.looks import Wave, thumbnail, waveform
from avlake.storage import Store

if TYPE_CHECKING:
    import duckdb

PER_SIDE = 6
CLUSTERS, PER_CLUSTER = 6, 4
PLAYERS = 40
PLAYERS_BYTES = 9 * MIB  # of all players together; a page writes 4 bytes for 3
PLAYER_BYTES = 2 * MIB
LOOKED_AT_BYTES = 32 * MIB  # a larger object is not read at all
Rows = list[dict[str, Any]]
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Look:
    """What a page shows of a clip's standard form; `notes` say what it cannot show, and why."""

    thumbnail: str | None  # a data: URI, as is the player
    wave: Wave | None
    player: str | None
    plays: str  # video or audio
    notes: list[str]


@dataclass(frozen=True)
class Card:
    """One clip at one place of the page; it is played at its first."""

    number: int
    row: Mapping[str, Any]  # of gold
    reasons: list[str]
    metrics: list[tuple[str, str, str]]  # what, its value, its distance from the threshold
    look: Look
    first: bool


@dataclass(frozen=True)
class Group:
    """The clips nearest one threshold: those below it and those at or above it, nearest first."""

    rule: Rule
    threshold: float
    unmeasured: int
    below: list[Card]
    above: list[Card]


@dataclass(frozen=True)
class Cluster:
    """Clips that are near duplicates of each other."""

    size: int
    cards: list[Card]


class Sheet:
    """Makes cards, within bounds on the number and the size of players; asked in the order of what matters most."""

    def __init__(self, con: duckdb.DuckDBPyConnection, table: str, store: Store, decisions: Decisions) -> None:
        self._con, self._table, self._store, self._decisions = con, table, store, decisions
        self._looks: dict[str, tuple[int, Look]] = {}
        self.players = self.left_out = self.bytes = 0

    def groups(self) -> list[Group]:
        sides: list[tuple[Rule, tuple[Rows, Rows], tuple[list[Card], list[Card]]]] = [
            (rule, (self._below(rule), self._above(rule)), ([], [])) for rule in RULES
        ]
        for nth in range(PER_SIDE):  # nearest first, all sides in turn: none loses all its players to the others
            for _, found, cards in sides:
                for rows, made in zip(found, cards, strict=True):
                    made.extend(self.card(row) for row in rows[nth : nth + 1])
        least, values = self._decisions.thresholds, self._decisions.values
        return [
            Group(rule, least[rule.threshold], int(np.isnan(values[rule.metric]).sum()), *cards)
            for rule, _, cards in sides
        ]

    def clusters(self) -> tuple[list[Cluster], int]:
        """The largest clusters of near duplicates, the clip that is kept first; and how many clusters there are."""
        found = self._con.execute(
            f"""SELECT cluster, count(*) AS size, count(*) OVER () AS clusters FROM {self._table}
            WHERE cluster IS NOT NULL GROUP BY cluster HAVING size > 1 ORDER BY size DESC, cluster LIMIT {CLUSTERS}"""
        ).fetchall()
        made = []
        for cluster, size, _ in found:
            rows = records(
                self._con,
                f"""SELECT * FROM {self._table} WHERE cluster = ?
                ORDER BY kept DESC, duplicate_of IS NOT NULL, file_id LIMIT {PER_CLUSTER}""",
                [cluster],
            )
            made.append(Cluster(size, [self.card(row) for row in rows]))
        return made, found[0][2] if found else 0

    def card(self, row: Mapping[str, Any]) -> Card:
        first = row["file_id"] not in self._looks
        if first:
            self._looks[row["file_id"]] = (len(self._looks) + 1, self._look(row))
        number, look = self._looks[row["file_id"]]
        least = self._decisions.thresholds
        metrics = [(r.title, r.text(row[r.metric]), r.distance(row[r.metric], least[r.threshold])) for r in RULES]
        reasons = row["reject_reason"].split(",") if row["reject_reason"] else []
        return Card(number, row, reasons, metrics, look, first)

    def _below(self, rule: Rule) -> Rows:
        return self._rows(rule, f"{rule.metric} < ? ORDER BY {rule.metric} DESC, file_id")

    def _above(self, rule: Rule) -> Rows:
        return self._rows(rule, f"{rule.metric} >= ? ORDER BY {rule.metric}, file_id")

    def _rows(self, rule: Rule, where: str) -> Rows:
        query = f"SELECT * FROM {self._table} WHERE {where} LIMIT {PER_SIDE}"
        return records(self._con, query, [self._decisions.thresholds[rule.threshold]])

    def _look(self, row: Mapping[str, Any]) -> Look:
        notes: list[str] = []
        video = self._object(row["standard_video"], "picture", notes)
        audio = self._object(row["standard_audio"], "sound", notes)
        picture = wave = None
        if video is not None:
            try:
                picture = _uri("image/jpeg", thumbnail(video))
            except (av.FFmpegError, ValueError, IndexError):
                notes.append("its picture cannot be decoded")
        if audio is not None:
            try:
                wave = waveform(audio, self._speech(row))
            except Quarantined:
                notes.append("its sound cannot be decoded")
        if row["standard_video"] is None and row["standard_audio"] is None:
            notes.append("no standard form in the lake: nothing to see or hear")
        plays = ("video", "video/mp4", video) if picture else ("audio", "audio/wav", audio if wave else None)
        return Look(picture, wave, self._player(plays[1], plays[2], notes), plays[0], notes)

    def _player(self, media_type: str, data: bytes | None, notes: list[str]) -> str | None:
        if data is None:
            return None
        if len(data) > PLAYER_BYTES:
            notes.append(f"too long to be played in this page ({len(data) / MIB:.1f} MiB)")
        elif self.players == PLAYERS or self.bytes + len(data) > PLAYERS_BYTES:
            notes.append("not played here: the page holds as many players as it may")
        else:
            self.players, self.bytes = self.players + 1, self.bytes + len(data)
            return _uri(media_type, data)
        self.left_out += 1
        return None

    def _object(self, sha256: str | None, what: str, notes: list[str]) -> bytes | None:
        """The bytes of an object of ours; None where they are not to be had, with a note of why."""
        if sha256 is None:
            return None
        if not SHA256.fullmatch(sha256):
            notes.append(f"its {what} has no valid address")
            return None
        try:
            with self._store.open(object_name(sha256)) as file:
                data = file.read(LOOKED_AT_BYTES + 1)
        except FileNotFoundError:
            notes.append(f"its {what} is not in the lake any longer")
            return None
        if len(data) > LOOKED_AT_BYTES:
            notes.append(f"its {what} is too large for this page")
        elif hashlib.sha256(data).hexdigest() != sha256:
            notes.append(f"its {what} is damaged: the bytes in the lake are others")
        else:
            return data
        return None

    def _speech(self, row: Mapping[str, Any]) -> Iterable[tuple[float, float]]:
        if not exists(self._con, "silver.speech"):
            return []
        found = self._con.execute(
            """SELECT segment_start_s, segment_end_s FROM silver.speech
            WHERE dataset = ? AND drop_date = ? AND file_id = ?""",
            [row["dataset"], row["drop_date"], row["file_id"]],
        ).fetchone()
        return zip(found[0] or [], found[1] or [], strict=True) if found else []


def _uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
