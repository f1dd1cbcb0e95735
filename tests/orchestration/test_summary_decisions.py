"""What `make run` ends with where the learner compares instead of leaving a model."""

from pathlib import Path

from avlake.orchestration.drops import Work
from avlake.orchestration.summary import Watch, print_summary
from avlake.runner import new_run_id, run
from avlake.settings import Settings
from avlake.stages.publish import publish
from avlake.stages.train import train

COLUMNS = "filepath_video,speaker_id,face_presence_ratio,avg_blur_score,speech_ratio"


class Silent:
    """A server that is not asked for more than where it is."""

    password_file = Path("passwords.json")
    url = "http://127.0.0.1:8080"

    def client(self) -> "Silent":
        return self


def test_decisions_and_the_verdict_in_words(tmp_path, capsys):
    settings = Settings(uri=str(tmp_path / "lake"), warehouse=str(tmp_path / "warehouse.duckdb"), jobs=1)
    scores = tmp_path / "scores.csv"
    scores.write_text(f"{COLUMNS}\nmp4/a/v/1.mp4,a,1,80,1\nmp4/a/v/2.mp4,a,0.5,20,0.6\n")
    run(settings, pipeline="talking_heads", scores=str(scores))
    trained = train(settings, pipeline="talking_heads", run_id=new_run_id("test"))
    publish(settings, run_id=new_run_id("test"))
    work = Work(str(tmp_path), ("2026-09-01",), {"source": str(tmp_path)}, "")
    results = {"train": {"model": trained.model, "model_uri": trained.model_uri}, "report": "report.html"}
    print_summary("talking_heads", settings, Silent(), work, results, Watch("talking_heads", settings, work))
    said = capsys.readouterr().out
    assert "low_face_presence,blurry,low_speech" in said and "Of 2 clips 1" in said
    assert "verdict  none" in said and "predict" not in said
    assert f"make run PIPELINE=talking_heads SOURCE={tmp_path}" in said
