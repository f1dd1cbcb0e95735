"""Films with annotated faces, from dated drops to a model that says who is speaking.

`active_speaker` takes one drop, whose date is the run's partition key, into bronze and silver. `active_speaker_gold`
decides which faces are learned from and publishes; `active_speaker_train` waits until both are quiet, trains the
network, compares it with baselines on films it has not seen, and reports.
"""

from avlake.orchestration.dags import pipeline_dags  # Airflow reads only files that name it

pipeline_dags("active_speaker", __doc__)
