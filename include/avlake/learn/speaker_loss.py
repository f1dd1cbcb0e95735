"""What the network of `active_speaker` is trained to do, and how few scenes are made into many.

Beside the labels of each face, the sound of each scene is to be told from the sounds of the others of a batch, as in
InfoNCE (van den Oord et al. 2018): n scenes are n * n examples. So sounds are exchanged in every batch. And since films
have voices of nobody on screen, faces are also judged one by one, and scenes with a sound that nobody there makes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from avlake.learn.speaker_net import MARGIN, SpeakerNet

if TYPE_CHECKING:
    from avlake.learn.speaker_batch import Batch

AUDIBLE, UNHEARD, SILENT, UNKNOWN = 2, 1, 0, -1  # labels of a face
CONTRAST, AMONG, SPEECH = 0.5, 0.5, 0.5  # weights: which sound of all; which face of the scene; is there speech
OFF_SCREEN = 0.25  # and is it anybody on screen?
SAME_SOUND = 0.97  # correlation of spectrograms


def training_loss(net: SpeakerNet, batch: Batch, *, exchange: bool = True) -> Tensor:
    """What is to become small; a scalar, 0 where nothing of the batch counts.

    Args:
        exchange: shall the sounds of the batch be told from each other, too?
    """
    seen, sound = net.streams(batch)
    out, learn = net.fuse(seen, sound, batch.mask, batch.times), batch.learn
    audible, speaks = (batch.labels == AUDIBLE) & learn, batch.labels >= UNHEARD
    total = _told(out.logits[learn], audible[learn]) + SPEECH * _told(out.sees_speech[learn], speaks[learn])
    heard = learn.any(1)
    total = total + SPEECH * _told(out.hears_speech[heard], audible.any(1)[heard])
    speakers, shown = audible.any(2), learn.any(2)  # (S, K)
    total = total + AMONG * chosen(out.sync, speakers & shown, shown)
    if exchange:
        total = total + OFF_SCREEN * off_screen(net, seen, sound, out.every, batch)
        s, k = speakers.shape
        every, who = out.every.reshape(s * k, s), speakers.reshape(-1, 1)
        own = torch.eye(s, dtype=torch.bool, device=who.device).repeat_interleave(k, 0)
        other = who & ~alike(batch).repeat_interleave(k, 0) & covered(batch)  # its sound is known, and is not this one
        known, right = (own & shown.reshape(-1, 1)) | other, own & who
        total = total + CONTRAST * (chosen(every, right, right | other) + chosen(every.t(), right.t(), known.t()))
    return total


def off_screen(net: SpeakerNet, seen: Tensor, heard: Tensor, every: Tensor, batch: Batch) -> Tensor:
    """What is to become small where the speaker may not be on screen; both streams as `SpeakerNet.streams` has them.

    Each face is judged as if it were alone, be the voice its own or not; and each scene with the sound of the next of
    the batch, which nobody there says. The evidence for both is in `every` (see `Output`).
    """
    s, k, t = batch.mask.shape
    own, following = (every.roll(-by, 2).diagonal(dim1=0, dim2=2).t() for by in (0, 1))
    may = (covered(batch).reshape(s, k, s).all(1) & ~alike(batch)).roll(-1, 1).diagonal()
    sound, times = heard.repeat_interleave(k, 0), batch.times.repeat_interleave(k, 0)
    with torch.autocast(batch.mask.device.type, enabled=False):
        alone = net.decide(seen, sound, batch.mask.reshape(s * k, 1, t), times, own.reshape(s * k, 1))
        others = net.decide(seen, heard.roll(-1, 0), batch.mask, batch.times, following)
    truth, learn = (batch.labels == AUDIBLE)[batch.learn], batch.learn & may[:, None, None]
    return _told(alone.reshape(s, k, t)[batch.learn], truth) + _told(others[learn], torch.zeros_like(others[learn]))


def pretraining_loss(net: SpeakerNet, batch: Batch) -> Tensor:
    """Which of the batch's sounds is a face's own? Scenes of one face each; nobody has to have labelled them."""
    every = net(batch).every[:, 0]  # (S, S)
    own = torch.eye(len(every), dtype=torch.bool, device=every.device)
    known = own | ~alike(batch)
    return chosen(every, own, known) + chosen(every.t(), own, known.t())


def augmented(batch: Batch, chance: torch.Generator) -> Batch:
    """The same scenes with each track's mouths moved by some pixels and half of them mirrored, alike at all times."""
    s, k = batch.mask.shape[:2]
    move = torch.randint(-MARGIN, MARGIN + 1, (s, k, 2), generator=chance).tolist()
    mirror = (torch.rand(s, k, generator=chance) < 0.5).tolist()
    looks = batch.looks.clone()
    for i in range(s):
        for j in range(k):
            moved = torch.roll(looks[i, j], move[i][j], (-2, -1))
            looks[i, j] = moved.flip(-1) if mirror[i][j] else moved
    return replace(batch, looks=looks)


def chosen(scores: Tensor, right: Tensor, known: Tensor) -> Tensor:
    """Minus the log of the softmax's share of the right ones, by row, over rows with right and wrong ones."""
    rows = right.any(1) & (known & ~right).any(1)
    if not rows.any():
        return scores.new_zeros(())
    of_all = scores.masked_fill(~known, -torch.inf)[rows].logsumexp(1)
    return (of_all - scores.masked_fill(~right, -torch.inf)[rows].logsumexp(1)).mean()


def alike(batch: Batch) -> Tensor:
    """Whether two scenes have the same sound, as where a recording is used twice: (S, S)."""
    here = batch.times[..., None, None].float()
    n = here.sum((1, 2, 3), keepdim=True).clamp(min=1) * batch.log_mel.shape[2] * batch.log_mel.shape[3]
    flat = (batch.log_mel - (batch.log_mel * here).sum((1, 2, 3), keepdim=True) / n) * here
    flat = F.normalize(flat.flatten(1))
    return flat @ flat.t() > SAME_SOUND


def covered(batch: Batch) -> Tensor:
    """Whether a sound goes on as long as a face is there, of every face and every sound: (S * K, S).

    One that ends before could be told from the face's own by its length.
    """
    beyond = batch.mask[:, :, None] & ~batch.times
    return ~beyond.any(-1).flatten(0, 1)


def _told(logits: Tensor, truth: Tensor) -> Tensor:
    if not len(logits):
        return logits.sum()
    return F.binary_cross_entropy_with_logits(logits, truth.float())
