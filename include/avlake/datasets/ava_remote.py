"""What of AVA-ActiveSpeaker its publishers have: archives of annotations, and the films that these are about.

The addresses are settings. Some public tools take the archives from there (2019 to 2025), others from
https://s3.amazonaws.com/ava-dataset/annotations/; the films and their list are the CVDF's, as the README of
github.com/cvdfoundation/ava-dataset has it. None could be asked from where this was written. The publishers give no
checksums, so none is known unless AVLAKE_AVA_CHECKSUMS names some.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import IO

from avlake.datasets.remote import Asked, Remote, RemoteFile, file_name, file_url
from avlake.errors import Quarantined, RequestError
from avlake.media import archives
from avlake.media.limits import Limits
from avlake.media.media_types import is_recording

SPLITS = ("train", "val")
SPLIT = re.compile(r"(?:^|[/_.-])(train|val)(?=[/_.-])", re.IGNORECASE)
VIDEO_ID = re.compile(rb'\s*"?([\w-]{1,200})"?\s*,')
LINE_MAX_BYTES = 10_000


def annotation_files(asked: Asked) -> list[RemoteFile]:
    """The archive of each split, at the top of the drop."""
    address = asked.settings.ava_annotations
    if "{split}" not in address and asked.split:
        raise RequestError("--split: AVLAKE_AVA_ANNOTATIONS has no {split} in it, so it is one file for all splits")
    splits = (asked.split,) if asked.split else SPLITS if "{split}" in address else ("",)
    urls = [address.replace("{split}", split) for split in splits]
    return [RemoteFile(file_name(url), url) for url in urls]


def video_files(asked: Asked) -> list[RemoteFile]:
    """The films that the drop's annotations are about, by name, in its folder `videos`.

    Raises:
        RequestError: if the drop has no annotations, or none of that split.
    """
    wanted = _annotated(asked)
    named: dict[str, str] = {}
    unusable = 0
    for name in asked.text(asked.settings.ava_video_list).split():
        if is_recording(name, "video"):
            named.setdefault(name.rpartition(".")[0], name)
        else:
            unusable += 1
    if unusable:
        asked.say(f"{unusable} entries of AVLAKE_AVA_VIDEO_LIST name no video, and are ignored")
    if unlisted := sorted(wanted - named.keys()):
        shown = ", ".join(unlisted[:5]) + (", ..." if len(unlisted) > 5 else "")
        asked.say(f"{len(unlisted)} of {len(wanted)} annotated videos are not in the list of files: {shown}")
    if not wanted & named.keys():
        raise RequestError("none of the annotated videos is in the list of files; correct AVLAKE_AVA_VIDEO_LIST")
    names = sorted(named[video_id] for video_id in wanted & named.keys())
    return [RemoteFile(f"videos/{name}", file_url(asked.settings.ava_videos, name)) for name in names]


def _annotated(asked: Asked) -> set[str]:
    """The ids of the videos that the drop's annotations name, in the split that is asked for."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in asked.held.paths():
        if not (path.lower().endswith(".csv") or archives.is_archive(path)):
            continue
        try:
            for name, csv in _csvs(asked, path):
                ids = _video_ids(csv)
                for split in {*SPLIT.findall(name.lower()), ""}:
                    found[split] |= ids
        except Quarantined as error:
            raise RequestError(f"{path}: these annotations cannot be read ({error}); fetch or put them again") from None
    if wanted := found.get(asked.split or ""):
        return wanted
    kind = f"annotations of split {asked.split}" if asked.split else "annotations"
    raise RequestError(
        f"this drop has no {kind}, which say what videos to fetch; first `avlake fetch ava annotations`, "
        f"or name the drop that has them with --drop; others there: {', '.join(asked.others) or 'none'}"
    )


def _csvs(asked: Asked, path: str) -> Iterator[tuple[str, IO[bytes]]]:
    """A CSV, or those in an archive, each with its path."""
    with asked.held.local(path) as local:
        if not archives.is_archive(path):
            with local.open("rb") as csv:
                yield path, csv
            return
        for name, _, member in archives.members(local, Limits.of(asked.settings)):
            if name.lower().endswith(".csv"):
                yield f"{path}/{name}", member


def _video_ids(csv: IO[bytes]) -> set[str]:
    """The first column, less a header; the official files have no header and no quotes."""
    found = set()
    while line := csv.readline(LINE_MAX_BYTES):
        if match := VIDEO_ID.match(line.removeprefix(b"\xef\xbb\xbf")):
            found.add(match[1])
    return {video_id.decode(errors="replace") for video_id in found - {b"video_id"}}


REMOTES = (
    Remote(
        kind="annotations",
        doc="the archives of CSVs, train and val",
        files=annotation_files,
        checksums=lambda settings: settings.ava_checksums,
        setting="AVLAKE_AVA_CHECKSUMS",
        splits=SPLITS,
    ),
    Remote(
        kind="videos",
        doc="the films that the drop's annotations are about",
        files=video_files,
        checksums=lambda settings: settings.ava_checksums,
        setting="AVLAKE_AVA_CHECKSUMS",
        splits=SPLITS,
        may_lack=True,
    ),
)
