"""Podcast episodes, from dated drops to where their outro music starts.

`podcast_outros` takes one drop, whose date is the run's partition key, into bronze and silver. `podcast_outros_gold`
cuts all episodes into parts, labels them and publishes; `podcast_outros_train` waits until both are quiet, learns what
is music, finds the outros of all episodes, and reports.
"""

from avlake.orchestration.dags import pipeline_dags  # Airflow reads only files that name it

pipeline_dags("podcast_outros", __doc__)
