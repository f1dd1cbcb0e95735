"""Make the buckets that AVLAKE_URI and AVLAKE_LANDING name, on any S3 server; those that exist are left alone."""

from __future__ import annotations

from avlake.settings import load_settings
from avlake.storage import open_store

settings = load_settings()
for uri in filter(None, (settings.uri, settings.landing)):
    if uri.startswith("s3://"):
        store = open_store(uri)
        bucket = store.root.split("/")[0]
        if not store.fs.exists(bucket):
            # Not mkdir: that names the region, which S3 refuses where it is us-east-1.
            store.fs.call_s3("create_bucket", Bucket=bucket)
            print(f"made s3://{bucket}")
