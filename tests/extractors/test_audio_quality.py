from __future__ import annotations

import warnings

import numpy as np
import pyloudnorm
import pytest
from scipy.signal import freqz_sos
from sounds import voice

from avlake.errors import Quarantined
from avlake.extractors.audio_quality import AudioQuality
from avlake.extractors.loudness import integrated_lufs, k_weighting
from avlake.extractors.media import Media
from avlake.media.clip import SAMPLE_RATE, Clip
from clips import make_clip, moving_bar


def measure(clip: Clip) -> dict[str, float]:
    return {name: values.item() for name, values in AudioQuality().measure(clip).items()}


def loudness_by_pyloudnorm(samples: np.ndarray) -> float:
    return pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(samples.astype(np.float64))


def test_loudness_equals_pyloudnorm(signals, clip_of):
    loud_and_quiet = np.concatenate((signals["man"], 1e-3 * signals["woman"], signals["sweep"]))  # the gates matter
    for name, samples in {**signals, "loud and quiet": loud_and_quiet}.items():
        clip = clip_of(samples)
        assert measure(clip)["loudness_lufs"] == pytest.approx(loudness_by_pyloudnorm(clip.audio.samples), abs=0.1), (
            name
        )


def test_loudness_of_real_recordings_equals_pyloudnorm(recordings):
    for content in recordings:
        clip = Clip(content)
        assert measure(clip)["loudness_lufs"] == pytest.approx(loudness_by_pyloudnorm(clip.audio.samples), abs=0.1)


def test_k_weighting_is_the_recommendations_at_48_khz():
    """The responses of BS.1770-4's tables 1 and 2, in dB at frequencies of speech."""
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585]
    high_pass = [1, -2, 1, 1, -1.99004745483398, 0.99007225036621]
    hz = [60, 100, 200, 500, 1000, 2000, 4000, 7000]
    ours, theirs = (
        20 * np.log10(np.abs(freqz_sos(sections, worN=hz, fs=48_000)[1]))
        for sections in (k_weighting(48_000), [shelf, high_pass])
    )
    np.testing.assert_allclose(ours, theirs, atol=0.35)


def test_loudness_scales_with_level(signals):
    samples = signals["man"].astype(np.float32)
    assert integrated_lufs(samples) - integrated_lufs(samples / 10) == pytest.approx(20, abs=0.01)


def test_loudness_of_very_short_and_very_long_sounds():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE * 130) / SAMPLE_RATE).astype(np.float32)
    long = integrated_lufs(tone)
    assert long == pytest.approx(loudness_by_pyloudnorm(tone), abs=0.1)
    assert integrated_lufs(tone[:3_000]) == pytest.approx(long, abs=0.3)  # under 400 ms: one block
    assert np.isfinite(integrated_lufs(tone[:1]))


def test_silence(clip_of):
    assert measure(clip_of(np.zeros(SAMPLE_RATE))) == {
        "duration_s": 1.0,
        "peak": 0.0,
        "clipping_ratio": 0.0,
        "snr_db": -20.0,
        "loudness_lufs": -70.0,
        "silence_ratio": 1.0,
    }


@pytest.mark.parametrize("snr_db", [5, 15, 30])
def test_snr_of_a_voice_in_noise(clip_of, snr_db):
    clean = voice(8, 140, 1, noise=0)
    noise = np.random.default_rng(0).standard_normal(len(clean))
    noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) / 10 ** (snr_db / 20)
    assert measure(clip_of(clean + noise))["snr_db"] == pytest.approx(snr_db, abs=2)


def test_peak_clipping_and_duration_are_the_files_own(clip_of):
    rate = 44_100
    t = np.arange(rate) / rate
    stereo = np.stack((np.clip(2 * np.sin(2 * np.pi * 100 * t), -1, 1), 0.1 * np.sin(2 * np.pi * 100 * t)), axis=1)
    row = measure(clip_of(stereo, rate=rate))
    assert row["peak"] == 1
    assert row["clipping_ratio"] == pytest.approx(1 / 3, abs=0.01)  # |2 sin| >= 1 in 2/3 of one of two channels
    assert row["duration_s"] == pytest.approx(1)


def test_silence_ratio(signals, clip_of):
    half = np.concatenate((signals["white noise"], np.zeros(len(signals["white noise"]))))
    assert measure(clip_of(half))["silence_ratio"] == pytest.approx(0.5, abs=0.02)
    assert measure(clip_of(signals["white noise"]))["silence_ratio"] == 0


@pytest.mark.parametrize("n", [1, 2, 511, 513, 1_599, 6_401])
def test_never_nan_however_short(clip_of, n):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(list(measure(clip_of(np.linspace(-0.5, 0.7, n))).values())).all()


def test_absurd_samples_are_quarantined(clip_of):
    with pytest.raises(Quarantined, match="times full scale"):
        measure(clip_of(np.full(9_000, 1e30), subtype="FLOAT"))


def test_media_facts(clip_of):
    columns = Media().measure(clip_of(np.zeros((22_050, 2)), rate=44_100, subtype="PCM_24"))
    assert {name: values.tolist() for name, values in columns.items()} == {
        "codec": ["pcm_s24le"],
        "native_rate_hz": [44_100],
        "channels": [2],
        "duration_s": [0.5],
        **{name: [None] for name in ("video_codec", "width_px", "height_px", "frame_rate_hz", "video_duration_s")},
    }


def test_media_facts_of_a_silent_film():
    facts = Media().measure(Clip(make_clip(moving_bar(), seconds=1)))
    assert {name: values.tolist()[0] for name, values in facts.items()} == {
        **dict.fromkeys(("codec", "native_rate_hz", "channels")),
        "duration_s": 1.0,
        "video_codec": "h264",
        "width_px": 160,
        "height_px": 120,
        "frame_rate_hz": 25.0,
        "video_duration_s": 1.0,
    }
