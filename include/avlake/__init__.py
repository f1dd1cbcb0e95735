"""avlake: an audio-visual lakehouse. Dated drops of recordings in; trained models and SQL out."""

__version__ = "0.1.0"
