"""AVLAKE_* environment variables as one frozen object, the same for the command line, tasks and notebooks."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from avlake.errors import RequestError

MIB = 1 << 20


def home() -> Path:
    """The checkout this package runs from, else the working directory: the default lake lies in its `.avlake`."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


class Settings(BaseSettings):
    """Where the lake, its sources and its warehouse are, and how much one file may cost."""

    model_config = SettingsConfigDict(env_prefix="AVLAKE_", env_ignore_empty=True, frozen=True, extra="ignore")

    uri: str = Field(
        default_factory=lambda: str(home() / ".avlake" / "lake"), description="the lake: folder, s3://, abfs[s]://"
    )
    landing: str | None = Field(None, description="where drops arrive, when a run names no source")
    warehouse: str = Field(
        default_factory=lambda: str(home() / ".avlake" / "warehouse.duckdb"), description="a DuckDB file or md:database"
    )
    models: Path = Field(default_factory=lambda: home() / ".avlake" / "models", description="third-party model files")
    approval: str = Field("", description="pipelines, with commas, whose gold a person approves in Airflow")
    jobs: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="measuring processes (CLI only)")

    inline_max_bytes: int = Field(MIB, ge=0, description="larger files are objects of their own, not rows")
    warehouse_max_rows: int = Field(50_000_000, ge=1, description="larger tables stay out of the warehouse")

    file_timeout_s: float = Field(120.0, gt=0, description="to measure one file, and 2 s more per second decoded")
    file_memory_mb: int = Field(4096, ge=512, description="memory to open and measure one file")

    downloads: Path = Field(default_factory=lambda: home() / ".avlake" / "downloads", description="until committed")
    download_concurrency: int = Field(5, ge=1, le=32)
    download_max_mb: int = Field(4096, ge=1, description="largest single download")
    fetch_rate_mb_s: float | None = Field(None, gt=0, description="MB/s of `avlake fetch` in all; default unlimited")
    archive_max_members: int = Field(100_000, ge=1)
    archive_max_mb: int = Field(16_384, ge=1, description="largest unpacked archive")
    archive_max_ratio: float = Field(200.0, gt=1, description="largest unpacked size over packed size")

    # What `avlake fetch ava` takes; see docs/fetch.md.
    ava_annotations: str = "https://research.google.com/ava/download/ava_activespeaker_{split}_v1.0.tar.bz2"
    ava_video_list: str = "https://s3.amazonaws.com/ava-dataset/annotations/ava_speech_file_names_v1.txt"
    ava_videos: str = Field("https://s3.amazonaws.com/ava-dataset/trainval/", description="the folder of those files")
    ava_checksums: str = Field("", description="file or address of a list as of md5sum or sha256sum; or none")


def load_settings(**overrides: object) -> Settings:
    """Read the environment; an impossible value names its variable.

    Raises:
        RequestError: naming each AVLAKE_* variable that is wrong.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(f"AVLAKE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise RequestError(f"settings: {wrong}") from None
