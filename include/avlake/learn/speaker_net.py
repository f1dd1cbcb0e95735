"""The network of `active_speaker`: two streams, their agreement, and the other faces on screen; 0.9 M parameters.

What holds for talkers not seen before is not how a mouth looks but whether its motion goes with the sound. So the
fusion is explicit: features of both streams are correlated over the scene, at lags of up to 5 moments (0.2 s) either
way, beside their joint mutual information; the evidence of a face is then weighed against that of the others on screen,
and a small recurrent context says when there is speech at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from avlake.learn.speaker_batch import Batch

VERSION = 2  # raised whenever weights mean something else
MARGIN = 2  # pixels around a mouth, so that it can be shifted
MOUTH = 28  # pixels, after halving
SIDE = MOUTH + 2 * MARGIN  # of what is kept of a face
TOP, LEFT = 54, 28  # of the mouth in a face of 112 x 112
MELS, COEFFICIENTS, STEPS = 40, 13, 4
LAGS = 5  # moments either way
RIDGE = 0.1  # on signals of variance 1
NOBODY = -2.0  # evidence for a speaker who is not on screen
ABSENT = -30.0
FAINT = -10.0  # ln of a mel energy: where nothing is louder, nothing is heard


class Output(NamedTuple):
    """What the network says of S scenes of K faces and T times."""

    logits: Tensor  # (S, K, T) of speaking and being heard
    sync: Tensor  # (S, K): evidence that a face's mouth goes with its scene's sound
    sees_speech: Tensor  # (S, K, T) logits
    hears_speech: Tensor  # (S, T) logits
    every: Tensor  # (S, K, S): evidence that a face's mouth goes with the sound of each scene


def prepare(crops: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n, 112, 112) uint8 faces to (n, SIDE, SIDE) uint8: the lower middle with a margin, halved."""
    up, left, span = TOP - 2 * MARGIN, LEFT - 2 * MARGIN, 2 * SIDE
    below = max(0, up + span - crops.shape[1])
    part = np.pad(crops[:, up:], ((0, 0), (0, below), (0, 0)), "edge")[:, :span, left : left + span]
    blocks = part.reshape(len(crops), SIDE, 2, SIDE, 2).astype(np.uint16)
    return ((blocks.sum(axis=(2, 4)) + 2) // 4).astype(np.uint8)


class Dropout(nn.Module):
    """As `nn.Dropout`, from random numbers of its own: trainings beside each other do not disturb each other."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.chance: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        kept = torch.rand(x.shape, generator=self.chance, device=x.device) >= self.share
        return x * kept / (1 - self.share)


class Temporal(nn.Module):
    """A residual convolution over time: (N, T, width); nothing comes in from where nothing is."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2)
        self.drop = Dropout(drop)

    def forward(self, x: Tensor, here: Tensor) -> Tensor:
        moved: Tensor = self.conv((self.norm(x) * here).transpose(1, 2))
        return (x + self.drop(F.gelu(moved.transpose(1, 2)))) * here


class Visual(nn.Module):
    """A mouth's picture, less its mean over the track, and its change from moment to moment."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, size in ((2, 16, 5), (16, 32, 3), (32, 64, 3)):
            layers += [nn.Conv2d(before, after, size, 2, size // 2), nn.GroupNorm(4, after), nn.GELU()]
        self.cnn = nn.Sequential(*layers, nn.Flatten(), Dropout(drop), nn.Linear(64 * 16, width))
        self.time = nn.ModuleList([Temporal(width, drop), Temporal(width, drop)])

    def forward(self, mouths: Tensor, present: Tensor) -> Tensor:
        """(N, T, MOUTH, MOUTH), (N, T) -> (N, T, width)."""
        n, t = present.shape
        here = present[..., None, None].float()
        frames = here.sum(1, keepdim=True).clamp(min=1)
        x = (mouths - (mouths * here).sum(1, keepdim=True) / frames) * here
        x = x / (x.square().sum((1, 2, 3), keepdim=True) / (frames * MOUTH * MOUTH)).sqrt().clamp(min=1)
        change = F.pad((x[:, 1:] - x[:, :-1]) * (here[:, 1:] * here[:, :-1]), (0, 0, 0, 0, 1, 0))
        h = self.cnn(torch.stack((x, 2 * change), 2).reshape(n * t, 2, MOUTH, MOUTH)).reshape(n, t, -1)
        for layer in self.time:
            h = layer(h, here[..., 0])
        return h


class Audio(nn.Module):
    """Levels below the loudest of the scene, their changes, and MFCCs less their mean."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.first = nn.Conv1d(2 * MELS + COEFFICIENTS, width, 5, padding=2)
        self.drop = Dropout(drop)
        self.down = nn.Conv1d(width, width, STEPS, stride=STEPS)
        self.time = nn.ModuleList([Temporal(width, drop), Temporal(width, drop)])

    def forward(self, log_mel: Tensor, mfcc: Tensor, times: Tensor) -> Tensor:
        """(S, T, 4, 40), (S, T, 4, 13), (S, T) -> (S, T, width)."""
        s, t = times.shape
        here = times.repeat_interleave(STEPS, 1)[..., None].float()
        mel, cepstrum = log_mel.reshape(s, t * STEPS, MELS), mfcc.reshape(s, t * STEPS, COEFFICIENTS)
        loudest = mel.masked_fill(here == 0, -torch.inf).amax((1, 2), keepdim=True).clamp(min=FAINT)
        mel = ((mel - loudest).clamp(min=-9) / 3 + 5 / 3) * here  # 39 dB below the loudest is silence
        change = F.pad((mel[:, 2:] - mel[:, :-2]) * (here[:, 2:] * here[:, :-2]), (0, 0, 1, 1)) * 2
        frames = here.sum(1, keepdim=True).clamp(min=1)
        cepstrum = (cepstrum - (cepstrum * here).sum(1, keepdim=True) / frames) * here
        cepstrum = cepstrum / (cepstrum.square().sum(1, keepdim=True) / frames).sqrt().clamp(min=5)
        h = self.drop(F.gelu(self.first(torch.cat((mel, change, cepstrum), -1).transpose(1, 2)))) * here.transpose(1, 2)
        h = F.gelu(self.down(h)).transpose(1, 2) * times[..., None].float()
        for layer in self.time:
            h = layer(h, times[..., None].float())
        return h


class SpeakerNet(nn.Module):
    """Which face on screen is the voice that is heard?"""

    def __init__(self, width: int = 160, heads: int = 16, joint: int = 4, drop: float = 0.2) -> None:
        super().__init__()
        self.joint = joint
        self.visual, self.audio = Visual(width, drop), Audio(width, drop)
        self.seen_heads, self.heard_heads = nn.Linear(width, heads), nn.Linear(width, heads)
        self.seen_joint, self.heard_joint = nn.Linear(width, joint), nn.Linear(width, joint)
        near = torch.exp(-torch.arange(-LAGS, LAGS + 1).square() / 2)
        self.lag_weights = nn.Parameter(near.repeat(heads, 1) * 1.5 / heads**0.5)
        self.joint_lags = nn.Parameter(torch.zeros(2 * LAGS + 1))
        self.joint_gain = nn.Parameter(torch.tensor(1.0))
        self.sees, self.hears = nn.Linear(width, 1), nn.Linear(width, 1)
        self.mix = nn.Sequential(nn.Linear(2 * heads + 6, 32), nn.GELU())
        self.context = nn.GRU(32, 16, batch_first=True, bidirectional=True)
        self.last = nn.Linear(32, 1)
        self.direct = nn.Parameter(torch.tensor([1.0, 1.0, 0.2]))

    def take_chance(self, chance: torch.Generator) -> None:
        """Drop out by these random numbers from now on."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.chance = chance

    def forward(self, batch: Batch) -> Output:
        """Judge scenes; what is said of padding means nothing."""
        return self.fuse(*self.streams(batch), batch.mask, batch.times)

    def streams(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is seen of each face, (S * K, T, width), and heard in each scene, (S, T, width)."""
        s, k, t = batch.mask.shape
        looks = batch.looks[..., MARGIN : MARGIN + MOUTH, MARGIN : MARGIN + MOUTH]
        seen = self.visual(looks.reshape(s * k, t, MOUTH, MOUTH).float(), batch.mask.reshape(s * k, t))
        return seen.float(), self.audio(batch.log_mel, batch.mfcc, batch.times).float()

    def fuse(self, seen: Tensor, heard: Tensor, mask: Tensor, times: Tensor) -> Output:
        """Both streams to what is said of each face; `mask` (S, K, T) and `times` (S, T) as in a batch."""
        s, k, t = mask.shape
        with torch.autocast(mask.device.type, enabled=False):  # inverses need every digit
            every = self.agreement(seen, heard, mask.reshape(s * k, t), times).reshape(s, k, s)
            sync = every.diagonal(dim1=0, dim2=2).transpose(0, 1)  # (S, K)
            logits = self.decide(seen, heard, mask, times, sync)
            return Output(logits, sync, self.sees(seen)[..., 0].reshape(s, k, t), self.hears(heard)[..., 0], every)

    def decide(self, seen: Tensor, heard: Tensor, mask: Tensor, times: Tensor, sync: Tensor) -> Tensor:
        """The logits, (S, K, T), where the evidence of each face is known."""
        s, k, t = mask.shape
        known = mask.reshape(s * k, t)
        sees, hears = self.sees(seen)[..., 0], self.hears(heard)[..., 0]
        here = sync[..., None].expand(s, k, t).masked_fill(~mask, ABSENT)
        nobody = here.new_full((s, 1, t), NOBODY)
        others = [torch.cat((here[:, :i], here[:, i + 1 :], nobody), 1).logsumexp(1) for i in range(k)]
        lead = (here - torch.stack(others, 1)).reshape(s * k, t)  # over the other faces on screen
        x = standard(self.seen_heads(seen), known)
        y = standard(self.heard_heads(heard), times).repeat_interleave(k, 0)
        own, ear = sync.reshape(-1, 1).expand(-1, t), hears.repeat_interleave(k, 0)
        parts = torch.stack((lead, own, sees, ear, sees * ear, torch.minimum(sees, ear)), -1)
        h = self.over_time(self.mix(torch.cat((x, x * y, parts), -1)), times.repeat_interleave(k, 0))
        plain = (torch.stack((lead, ear, sees), -1) * self.direct).sum(-1)
        return (plain + self.last(h)[..., 0]).reshape(s, k, t)

    def over_time(self, x: Tensor, real: Tensor) -> Tensor:
        """(N, T, 32) with its context; what comes after a scene's end does not reach back into it."""
        lengths = real.sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        h, _ = nn.utils.rnn.pad_packed_sequence(self.context(packed)[0], batch_first=True, total_length=x.shape[1])
        return h

    def agreement(self, seen: Tensor, heard: Tensor, known: Tensor, times: Tensor) -> Tensor:
        """Evidence that face n belongs to sound m: (N, T, width), (M, T, width), (N, T), (M, T) -> (N, M).

        At each lag the weighted correlations of `heads` pairs of features, and the mutual information of `joint`
        features of either stream, were they jointly Gaussian: that takes each talker's own best combination.
        """
        frames = known.sum(1).clamp(min=1)[:, None, None].float()
        x, y = standard(self.seen_heads(seen), known), standard(self.heard_heads(heard), times)
        p, q = standard(self.seen_joint(seen), known), standard(self.heard_joint(heard), times)
        eye = torch.eye(self.joint, device=seen.device)
        of_p = torch.linalg.inv(torch.einsum("ntk,ntl->nkl", p, p) / frames + RIDGE * eye)[:, None]
        # A face may be there for a part of the sound only: against what it may be compared with, at any lag, for else
        # more could be explained than there is, and the logarithm below would be none.
        near = F.max_pool1d(known[:, None].float(), 2 * LAGS + 1, 1, LAGS)[:, 0]
        beside = torch.einsum("nt,mtk,mtl->nmkl", near, q, q) / frames[..., None]
        of_q = torch.linalg.inv(beside + RIDGE * eye)
        share = torch.softmax(self.joint_lags, 0)
        total = seen.new_zeros((len(seen), len(heard)))
        for at, lag in enumerate(range(-LAGS, LAGS + 1)):
            correlation = torch.einsum("ntk,mtk->nmk", x, shifted(y, lag)) / frames
            cross = torch.einsum("ntk,mtl->nmkl", p, shifted(q, lag)) / frames[..., None]
            explained = of_p @ cross @ of_q @ cross.transpose(-1, -2)
            information = -torch.logdet(eye - 0.999 * explained)
            total = total + correlation @ self.lag_weights[:, at] + self.joint_gain * share[at] * information
        return total


def standard(x: Tensor, present: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the times present, 0 elsewhere: (N, T, K), (N, T)."""
    here = present.unsqueeze(-1).float()
    frames = here.sum(1, keepdim=True).clamp(min=1)
    x = (x - (x * here).sum(1, keepdim=True) / frames) * here
    return x / (x.square().sum(1, keepdim=True) / frames + 1e-3).sqrt()


def shifted(x: Tensor, lag: int) -> Tensor:
    """x[:, t + lag], 0 beyond the ends; (N, T, K), where a scene may be shorter than the lag."""
    lag = max(-x.shape[1], min(lag, x.shape[1]))
    return F.pad(x[:, lag:], (0, 0, 0, lag)) if lag >= 0 else F.pad(x[:, :lag], (0, 0, -lag, 0))
