"""The same features from librosa, numpy and scipy, one window and one feature at a time: slow, and obviously right."""

from __future__ import annotations

import librosa
import numpy as np
from scipy import stats

from avlake.extractors import pitch
from avlake.media.clip import SAMPLE_RATE

FRAMING = {"hop_length": 500, "center": False}
STFT = {"n_fft": 2048, **FRAMING}


def voice_features(y: np.ndarray) -> dict[str, float]:
    """Every feature of one window of 16 kHz samples."""
    return {**_amplitude(y.astype(np.float64)), **_frequencies(y), **_f0(y), **_spectral(y), **_mel(y)}


def _amplitude(y: np.ndarray) -> dict[str, float]:
    single = y.astype(np.float32)
    edges = single.min() + np.ptp(single) * np.linspace(0, 1, 257, dtype=np.float32)
    counts = np.histogram(single, edges)[0]
    q25, median, q75 = np.quantile(y, (0.25, 0.5, 0.75))
    values = {
        "mean": y.mean(),
        "median": median,
        "mode": edges[counts.argmax() : counts.argmax() + 2].mean(),
        "std": y.std(),
        "var": y.var(),
        "min": y.min(),
        "max": y.max(),
        "range": np.ptp(y),
        "q25": q25,
        "q75": q75,
        "iqr": stats.iqr(y),
        "skewness": stats.skew(y) if y.std() else 0,
        "kurtosis": stats.kurtosis(y, fisher=False) if y.std() else 0,
        "entropy": stats.entropy(counts, base=256),
    }
    return {f"amplitude_{name}": value for name, value in values.items()}


def _frequencies(y: np.ndarray) -> dict[str, float]:
    magnitude = np.abs(librosa.stft(y, **STFT)).astype(np.float64)
    khz = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=2048) / 1000
    everything, low = khz > 0.01, (khz > 0.01) & (khz <= 0.28)
    return {
        **_specprop("frequency", magnitude[everything], khz[everything]),
        **_specprop("low_frequency", magnitude[low], khz[low]),
    }


def _specprop(prefix: str, magnitude: np.ndarray, khz: np.ndarray) -> dict[str, float]:
    """seewave's specprop, as its R source has it."""
    spectrum = magnitude.mean(axis=1)
    if not spectrum.any():
        return dict.fromkeys((f"{prefix}_{name}" for name in SPECPROP), 0.0)
    amp = spectrum / spectrum.sum()
    cumamp = np.cumsum(amp)
    z, w, n = amp - amp.mean(), amp.std(ddof=1), len(amp)
    mean = (amp * khz).sum()
    q25, median, q75 = (khz[np.flatnonzero(cumamp > q)[0]] for q in (0.25, 0.5, 0.75))
    values = (
        *(mean, np.sqrt((amp * (khz - mean) ** 2).sum()), median, khz[amp.argmax()]),
        *(khz[np.unravel_index(magnitude.argmax(), magnitude.shape)[0]], q25, q75, q75 - q25),
        *((z**3).sum() / (n - 1) / w**3, (z**4).sum() / (n - 1) / w**4),
        *(stats.entropy(amp) / np.log(n), stats.gmean(amp) / amp.mean()),
    )
    return {f"{prefix}_{name}": value for name, value in zip(SPECPROP, values, strict=True)}


SPECPROP = (
    *("khz_mean", "khz_std", "khz_median", "khz_mode", "khz_peak", "khz_q25", "khz_q75", "khz_iqr"),
    *("skewness", "kurtosis", "entropy", "flatness"),
)


def _f0(y: np.ndarray) -> dict[str, float]:
    voiced = np.isfinite(pitch.yin(y))
    track = librosa.yin(y, fmin=60, fmax=500, sr=SAMPLE_RATE, frame_length=1280, trough_threshold=0.3, **FRAMING)
    hz = track[voiced].astype(np.float64)
    values = {"f0_voiced_ratio": voiced.mean()}
    if not voiced.any():
        hz = np.ones(1)
    for q in (5, 25, 75, 95):
        values[f"f0_hz_q{q:02d}"] = np.percentile(hz, q)
    values |= {f"f0_hz_{stat}": getattr(np, stat)(hz) for stat in ("mean", "median", "std", "min", "max")}
    values["f0_hz_iqr"] = stats.iqr(hz)
    values["f0_semitones_std"] = (12 * np.log2(hz)).std()
    values["f0_semitones_iqr"] = 12 * np.log2(values["f0_hz_q75"] / values["f0_hz_q25"])
    return values if voiced.any() else dict.fromkeys(values, 0.0)


def _spectral(y: np.ndarray) -> dict[str, float]:
    f, sr = librosa.feature, {"sr": SAMPLE_RATE}
    per_frame = {
        "spectral_centroid_hz": f.spectral_centroid(y=y, **sr, **STFT),
        "spectral_bandwidth_hz": f.spectral_bandwidth(y=y, **sr, **STFT),
        "spectral_rolloff_hz": f.spectral_rolloff(y=y, **sr, **STFT),
        "spectral_flatness": f.spectral_flatness(y=y, **STFT),
        "zero_crossing_rate": f.zero_crossing_rate(y, frame_length=2048, **FRAMING),
        "rms": f.rms(y=y, frame_length=2048, **FRAMING),
        "chroma": f.chroma_stft(y=y, tuning=0, **sr, **STFT),
        "spectral_contrast_db": f.spectral_contrast(y=y, **sr, **STFT),
        "mfcc": f.mfcc(y=y, n_mfcc=20, **sr, **STFT),
    }
    values = {}
    for name, rows in per_frame.items():
        for k, row in enumerate(rows, start=1):
            column = name if len(rows) == 1 else f"{name}_{k:02d}"
            values[f"{column}_mean"], values[f"{column}_std"] = row.mean(), row.std()
    return values


def _mel(y: np.ndarray) -> dict[str, float]:
    mel = librosa.feature.melspectrogram(y=y, sr=SAMPLE_RATE, **STFT)
    both = {"mel": mel, "mel_db": librosa.power_to_db(mel)}
    return {f"{k}_{stat}": getattr(v, stat)() for k, v in both.items() for stat in ("mean", "std", "min", "max")}
