from __future__ import annotations

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from avlake.errors import Quarantined
from avlake.extractors import base, segment_features
from avlake.extractors.harmonicity import harmonics_to_noise_db
from avlake.extractors.segment_features import SegmentFeatures, cuts
from avlake.extractors.soundscape import FEATURES, Soundscape
from avlake.extractors.spectrum import frames, spectrogram
from avlake.media.clip import SAMPLE_RATE, Clip

SECOND = SAMPLE_RATE
STFT = {"n_fft": 2048, "hop_length": 500}


def segments(clip: Clip, **params) -> dict[str, np.ndarray]:
    (able,) = base.register(clip, [SegmentFeatures(segment_features.Params(**params))], streams=("audio",))
    assert not clip.keep_samples
    return able.measure(clip)


def features(columns: dict[str, np.ndarray]) -> np.ndarray:
    """(n_parts, len(FEATURES))"""
    return np.stack([columns[name] for name in FEATURES], axis=1)


def reference(y: np.ndarray, parts: list[tuple[int, int]]) -> list[list[float]]:
    """The same features by librosa, one part and one feature at a time, from the STFT of all of the sound."""
    padded = np.pad(y, 1024)
    magnitude = np.abs(librosa.stft(y, **STFT))
    f, sr, framing = librosa.feature, SAMPLE_RATE, {"hop_length": 500, "frame_length": 2048, "center": False}
    crossings, rms = f.zero_crossing_rate(padded, **framing), f.rms(y=padded, **framing)
    hnr = boersma(padded)
    rows = []
    for start, stop in parts:
        inside = [k for k in range(magnitude.shape[1]) if start <= k * 500 < stop]
        S = magnitude[:, inside]
        per_frame = {
            "spectral_centroid_hz": f.spectral_centroid(S=S, sr=sr),
            "spectral_bandwidth_hz": f.spectral_bandwidth(S=S, sr=sr),
            "spectral_rolloff_hz": f.spectral_rolloff(S=S, sr=sr),
            "harmonics_to_noise_db": hnr[None, inside],
            "zero_crossing_rate": crossings[:, inside],
            "rms": rms[:, inside],
            "chroma": f.chroma_stft(S=S**2, sr=sr, tuning=0),
            "spectral_contrast_db": f.spectral_contrast(S=S, sr=sr),
            "mfcc": f.mfcc(S=librosa.power_to_db(f.melspectrogram(S=S**2, sr=sr)), n_mfcc=13),
        }
        values = {"silent_ratio": (rms[0, inside] < 1e-5).mean()}
        for name, bands in per_frame.items():
            for k, band in enumerate(bands, start=1):
                column = name if len(bands) == 1 else f"{name}_{k:02d}"
                values[f"{column}_mean"], values[f"{column}_std"] = band.mean(), band.std()
        assert set(values) == set(FEATURES)
        rows.append([values[name] for name in FEATURES])
    return rows


def boersma(padded: np.ndarray) -> np.ndarray:
    """Harmonics-to-noise ratio in dB, one frame at a time, by the definition."""
    window = librosa.filters.get_window("hann", 2048)
    own = circular(window)
    found = []
    for framed in librosa.util.frame(padded.astype(np.float64), frame_length=2048, hop_length=500).T:
        spectrum = np.fft.rfft(framed * window)
        spectrum[:2] = 0  # the DC offset
        sound = np.fft.irfft(spectrum)
        lags = circular(sound)
        r = lags / max(lags[0], 1e-10) / (own / own[0])
        tops = [k for k in range(32, 268) if r[k - 1] <= r[k] > r[k + 1]]
        best = max(tops, key=lambda k: r[k], default=None)
        top = 0.0
        if best is not None:
            before, here, after = r[best - 1 : best + 2]
            top = here + (after - before) ** 2 / (8 * (2 * here - before - after))
        low, high = (1 / (1 + 10 ** (-db / 10)) for db in (-20, 40))
        top = min(max(top, low), high)
        found.append(10 * np.log10(top / (1 - top)))
    return np.array(found)


def circular(sound: np.ndarray) -> np.ndarray:
    """Autocorrelation at lags of 0 to 268 samples."""
    return np.correlate(np.concatenate((sound, sound[:268])), sound, "valid")


def test_equal_to_librosa(signals, clip_of):
    measured, expected, names = [], [], []
    for name, samples in signals.items():
        clip = clip_of(samples)
        y = clip_of(samples).audio.samples
        columns = segments(clip, segment_s=2)
        parts = [
            (round(a * SECOND), round(b * SECOND)) for a, b in zip(columns["start_s"], columns["end_s"], strict=True)
        ]
        measured.append(features(columns))
        expected.extend(reference(y, parts))
        names.extend(f"{name} {start / SECOND:.2f} s" for start, _ in parts)
    a, b = np.concatenate(measured), np.array(expected)
    allowed = 1e-3 * np.abs(b) + 1e-3 * b.std(axis=0)
    wrong = [
        f"{names[row]}: {FEATURES[column]} {a[row, column]:.6g}, expected {b[row, column]:.6g}"
        for row, column in np.argwhere(~(np.abs(a - b) <= allowed))
    ]
    assert not wrong, f"{len(wrong)} of {a.size} values differ:\n" + "\n".join(wrong[:20])


def test_the_table_is_what_is_measured(signals, clip_of):
    table, columns = SegmentFeatures.table, segments(clip_of(signals["man"]))
    assert set(columns) | set(base.ADDED) == set(table.schema.names)
    for name, values in columns.items():
        assert values.dtype == table.schema.field(name).type.to_pandas_dtype(), name


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_blocks_of_any_length_give_the_same_bits(signals, data):
    sound = signals["gap"].astype(np.float32)
    sound = sound[: data.draw(st.integers(1, len(sound)))]
    parts = np.array([(0, len(sound)), (len(sound) // 2, len(sound)), (0, 1)])
    whole, blocks = Soundscape(), Soundscape()
    whole.hear(sound)
    at = 0
    while at < len(sound):
        length = data.draw(st.sampled_from([0, 1, 499, 500, 1024, 2048, 53_500, 54_548, 160_000]))
        blocks.hear(sound[at : at + length])
        at += max(length, 1) if length else 0
        if length == 0:
            blocks.hear(sound[at : at + 777])
            at += 777
    assert blocks.n_samples == len(sound)
    assert blocks.features(parts).tobytes() == whole.features(parts).tobytes()


@pytest.mark.parametrize(
    ("samples", "from_end", "edges"),
    [
        (25, True, [0, 5, 15, 25]),
        (25, False, [0, 10, 20, 25]),
        (10, True, [0, 10]),
        (11, True, [0, 1, 11]),
        (11, False, [0, 10, 11]),
        (3, True, [0, 3]),
    ],
)
def test_cuts(samples, from_end, edges):
    assert cuts(samples, 10, from_end=from_end).tolist() == edges


@given(n=st.integers(1, 10_000), length=st.integers(1, 3_000), from_end=st.booleans())
def test_every_sample_is_in_one_segment(n, length, from_end):
    edges = cuts(n, length, from_end=from_end)
    lengths = np.diff(edges)
    assert edges[0] == 0
    assert edges[-1] == n
    assert (lengths > 0).all()
    whole = lengths[1:] if from_end else lengths[:-1]
    assert (whole == length).all()


@pytest.mark.parametrize(
    ("samples", "starts_s", "short"),
    [
        (3_200, [0], [True]),
        (10 * SECOND, [0], [False]),
        (10 * SECOND + 1, [0, 1 / SECOND], [True, False]),
        (23 * SECOND, [0, 3, 13], [True, False, False]),
    ],
)
def test_segments_are_counted_from_the_end(clip_of, samples, starts_s, short):
    noise = 0.1 * np.random.default_rng(1).standard_normal(samples)
    columns = segments(clip_of(noise))
    assert columns["segment_index"].tolist() == list(range(len(starts_s)))
    assert columns["start_s"].tolist() == starts_s
    assert columns["end_s"].tolist() == [*starts_s[1:], samples / SECOND]
    assert columns["is_short"].tolist() == short
    assert np.isfinite(features(columns)).all()
    np.testing.assert_allclose(columns["rms_mean"][-1], 0.1, rtol=0.15)


def test_a_rest_without_a_frame_of_its_own_has_the_one_before(clip_of):
    """From sample 160 160 to 160 400 there is no centre; that of the frame before is sample 160 000."""
    sound = np.float32(0.1) * np.random.default_rng(1).standard_normal(160_400, np.float32)
    columns = segments(clip_of(sound, subtype="FLOAT"), direction="start", segment_s=10.01)
    assert columns["is_short"].tolist() == [False, True]
    assert columns["start_s"].tolist() == [0, 10.01]
    assert columns["rms_std"][1] == 0
    assert columns["rms_mean"][1] == pytest.approx(np.sqrt((sound[160_000 - 1_024 :] ** 2).sum() / 2_048), rel=1e-4)


def test_where_it_changes_is_where_it_changed(signals, clip_of):
    """A tone from second 11 on: segments that lie on one side of it know nothing of the other."""
    rest = 0.01 * np.random.default_rng(2).standard_normal(11 * SECOND)
    sound = np.concatenate((rest, signals["tone"][: 3 * SECOND]))
    loudness = segments(clip_of(sound), segment_s=2)["rms_mean"]
    np.testing.assert_allclose(loudness[:5], 0.01, rtol=0.1)
    np.testing.assert_allclose(loudness[5], 0.04, rtol=0.1)
    np.testing.assert_allclose(loudness[6:], 0.0707, rtol=0.1)


def test_silence_is_measured_and_says_so(clip_of):
    sound = np.zeros(25 * SECOND)
    columns = segments(clip_of(sound))
    assert np.isfinite(features(columns)).all()
    assert (columns["silent_ratio"] == 1).all()
    assert (columns["harmonics_to_noise_db_mean"] == -20).all()
    sound[: 5 * SECOND] = 0.1 * np.random.default_rng(3).standard_normal(5 * SECOND)
    assert segments(clip_of(sound))["silent_ratio"].tolist() == pytest.approx([0, 1, 1], abs=0.02)


@pytest.mark.parametrize("snr_db", [0, 10, 20])
def test_harmonics_to_noise_of_a_known_mixture(snr_db):
    t = np.arange(2 * SECOND) / SECOND
    voiced = sum(np.sin(2 * np.pi * 130 * k * t) for k in range(1, 40))
    noise = np.random.default_rng(4).standard_normal(len(t))
    noise *= np.sqrt((voiced**2).mean() / (noise**2).mean() / 10 ** (snr_db / 10))
    sound = (0.01 * (voiced + noise)).astype(np.float32)
    found = harmonics_to_noise_db(np.square(spectrogram(frames(sound, 2048))))
    assert np.median(found) == pytest.approx(snr_db, abs=1)


def test_rumble_is_no_harmony():
    """Slow noise resembles itself a moment later, without a period."""
    rumble = np.cumsum(np.random.default_rng(5).standard_normal(2 * SECOND)).astype(np.float32)
    rumble -= np.convolve(rumble, np.ones(801) / 801, "same").astype(np.float32)
    found = harmonics_to_noise_db(np.square(spectrogram(frames(1e-3 * rumble, 2048))))
    assert np.median(found) < 5


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_never_nan_on_any_samples(data):
    pattern = data.draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
    n = data.draw(st.integers(1, 70_000))
    heard = Soundscape()
    heard.hear(np.resize(np.array(pattern, np.float32), n))
    assert np.isfinite(heard.features(np.array([(0, n), (n - 1, n), (0, 1)]))).all()


def test_beyond_all_scale_is_quarantined(clip_of):
    sound = np.full(SECOND, 2e6)
    clip = clip_of(sound, subtype="FLOAT")
    with pytest.raises(Quarantined) as caught:
        segments(clip)
    assert caught.value.error_class == "out_of_range"


@pytest.mark.parametrize("wrong", [{"segment_s": 0.5}, {"direction": "middle"}])
def test_impossible_segments_are_refused(wrong):
    with pytest.raises(ValidationError):
        segment_features.Params(**wrong)
