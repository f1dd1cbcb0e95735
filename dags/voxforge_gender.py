"""VoxForge speech, from dated drops to a model of the speaker's gender.

`voxforge_gender` takes one drop, whose date is the run's partition key, into bronze and silver. `voxforge_gender_gold`
rebuilds gold from all silver and publishes it; `voxforge_gender_train` waits until both are quiet, trains and reports.
"""

from avlake.orchestration.dags import pipeline_dags  # Airflow reads only files that name it

pipeline_dags("voxforge_gender", __doc__)
