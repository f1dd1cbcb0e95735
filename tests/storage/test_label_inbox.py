"""Labels on every store: submitted as one object each, folded once by whoever comes, removed once committed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from avlake.lake import Lake
from avlake.stages import human
from avlake.stages.human import Said
from avlake.tables import HUMAN_LABELS


def test_labels_are_folded_once_whoever_folds(lake: Lake) -> None:
    for number in range(6):
        human.submit(lake, "podcasts", [Said(f"ep{number}.mp3", "outro_start_s", "60")] * 2, who="ann")
    bad = f"{human.INBOX}/20260901T000000000000Z-{'0' * 16}.jsonl"
    lake.store.write(bad, b'{"label_id": "x"')
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: human.fold(Lake(lake.store), "podcasts"), range(3)))
    data = lake.scan(HUMAN_LABELS.name)
    assert data is not None
    ids = data.to_table()["label_id"].to_pylist()
    assert len(ids) == len(set(ids)) == sum(one.labels for one in done) == 12
    assert lake.store.list(human.INBOX) == [bad] and {one.damaged for one in done} == {(bad,)}
    assert human.fold(lake, "podcasts") == human.Folded(0, (bad,)) and len(human.everything(lake)) == 12
