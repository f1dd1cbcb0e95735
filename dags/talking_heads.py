"""Clips of talking heads, from dated drops to those that are good enough to learn from; does choosing them help?

`talking_heads` takes one drop, whose date is the run's partition key, into bronze and silver. `talking_heads_gold`
decides over all silver, where asked only after a person has approved, and publishes; `talking_heads_train` waits until
both are quiet, compares models trained on all clips with models trained on those kept, and reports.
"""

from avlake.orchestration.dags import pipeline_dags  # Airflow reads only files that name it

pipeline_dags("talking_heads", __doc__)
