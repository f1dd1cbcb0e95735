"""Clips of YouTube videos, from dated drops to a list of those that have sound effects and neither speech nor music.

`sound_effects` takes one drop, whose date is the run's partition key, into bronze and silver. `sound_effects_gold`
decides over all silver, writes `sfx_filtered.jsonl` and publishes; `sound_effects_train` waits until both are quiet,
holds the decision to what people say of the clips, and reports.
"""

from avlake.orchestration.dags import pipeline_dags  # Airflow reads only files that name it

pipeline_dags("sound_effects", __doc__)
