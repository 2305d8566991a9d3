"""The face detector, with the outputs of SCRFD (Guo et al., arXiv 2105.04714).

One small network is applied to the image at a half, a quarter and an eighth of its size, and finds
faces of 10 to 56 pixels there: those are strides 8, 16 and 32, and faces of 20 to 450 pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from toonville.degradation import degrade
from toonville.detector_data import CANVASES_FILE, LABELS_FILE, NO_FACE, SIDE, WHOLE, make_canvases
from toonville.layers import Residual, channels_last, conv
from toonville.onnx_export import export
from toonville.trainer import Budget, train
from toonville.vae import to_tensor

DETECTOR_SIZE = (288, 288)
"""The det_size to use: with it, faces of Toonville are in the middle of a level's range.

Of 256 to 352 it gave the fewest false faces (0.001 per image; 0.015 at 256) and the best landmarks.
"""

LEVELS = (2, 4, 8)  # reductions of the image
CELL = 4  # reduced pixels: the stride of an output is its level's reduction times this
ANCHOR_RANGES = ((10.0, 26.0), (22.0, 56.0))  # sizes of a face in reduced pixels, per anchor
ANCHOR_UNITS = (3.5, 8.0)  # cells: outputs are multiples of these
TOLERANCE = 1.15  # sizes outside of a range by up to this factor are ignored
CENTRE, NEAR = 0.16, 0.42  # of the size: cells up to here are positive, up to there ignored
VALUES = 4 + 10  # box, landmarks
SURE_SIZE, UNSURE_SCORE = 24.0, 0.8  # small faces score less: a finer level finds them better
REFINEMENTS = 2
NUM_CANVASES, SEED = 24_000, 303
BATCH = 48


class Detector(nn.Module):
    """RGB image -> SCRFD's nine outputs."""

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 48, 64)) -> None:
        super().__init__()
        a, b, c, d = widths
        anchors = len(ANCHOR_RANGES)
        self.to4 = nn.Sequential(conv(3, a, 2), conv(a, b, 2))
        self.to8 = nn.Sequential(conv(b, c, 2), Residual(c))
        self.to16 = nn.Sequential(conv(c, d, 2), Residual(d), Residual(d))
        self.from16, self.at8 = nn.Conv2d(d, c, 1), conv(c, c)
        self.from8, self.at4 = nn.Conv2d(c, b, 1), nn.Sequential(conv(b, c), Residual(c))
        self.score = nn.Conv2d(c, anchors, 1)
        self.values = nn.Conv2d(c, anchors * VALUES, 1)
        self.pull = nn.Conv2d(c, 10, 1)
        nn.init.constant_(self.score.bias, -4.0)  # type: ignore[arg-type]
        units = torch.tensor(ANCHOR_UNITS).repeat_interleave(VALUES).view(1, -1, 1, 1)
        self.units: Tensor
        self.register_buffer("units", units, persistent=False)

    def detect_at_level(self, reduced: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Find faces at one level.

        Args:
            reduced: Images (N, 3, H, W) of this level.

        Returns:
            Score logits (N, 2, h, w), and values (N, 2, 14, h, w), h = H/4, w = W/4, as they are
            predicted at first and after each refinement of the landmarks. Values are in cells,
            from the cell's upper left corner: the box's left, top, right and bottom distances,
            then x and y of five landmarks.
        """
        x4 = self.to4(reduced)
        x8 = self.to8(x4)
        x16 = self.to16(x8)
        x8 = self.at8(x8 + _double(self.from16(x16), x8))
        x4 = self.at4(x4 + _double(self.from8(x8), x4))
        n, _, h, w = x4.shape
        guess = (self.values(x4) * self.units).view(n, -1, VALUES, h, w)
        values, pull = [guess], self.pull(x4)
        for _ in range(REFINEMENTS):
            points = _follow(values[-1][:, :, 4:].detach(), pull)
            values.append(torch.cat([guess[:, :, :4], points], 2))
        return self.score(x4), values

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find faces.

        Args:
            image: (1, 3, H, W) of (x - 127.5) / 128, sides multiples of 32.

        Returns:
            Three scores (n, 1), three boxes (n, 4), three sets of landmarks (n, 10), for strides
            8, 16, 32.
        """
        scores, boxes, points = [], [], []
        for level in LEVELS:
            logits, values = self.detect_at_level(F.avg_pool2d(image, level))
            rows = values[-1].permute(0, 3, 4, 1, 2).reshape(-1, VALUES)
            scores.append(logits.sigmoid().permute(0, 2, 3, 1).reshape(-1, 1))
            boxes.append(rows[:, :4])
            points.append(rows[:, 4:])
        return (*scores, *boxes, *points)


def _follow(points: Tensor, pull: Tensor) -> Tensor:
    """Move landmarks (N, 2, 10, h, w) by the offsets `pull` (N, 10, h, w) at their positions.

    Around each landmark, `pull` predicts the offset to it, in cells.
    """
    n, anchors, _, h, w = points.shape
    xy = points.view(n, anchors, 5, 2, h, w)
    x = xy[:, :, :, 0] + torch.arange(w, device=points.device)
    y = xy[:, :, :, 1] + torch.arange(h, device=points.device)[:, None]
    grid = torch.stack([x * (2 / (w - 1)) - 1, y * (2 / (h - 1)) - 1], -1)
    grid = grid.transpose(1, 2).reshape(n * 5, anchors * h, w, 2)
    move = F.grid_sample(
        pull.reshape(n * 5, 2, h, w), grid, padding_mode="border", align_corners=True
    )
    move = move.view(n, 5, 2, anchors, h, w).permute(0, 3, 1, 2, 4, 5)
    return (xy + move).reshape(points.shape)


def _double(x: Tensor, like: Tensor) -> Tensor:
    """Enlarge by 2 to the height and width of `like`, which may be odd."""
    x = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return x[:, :, : like.shape[2], : like.shape[3]]


def targets(labels: NDArray[np.float32], side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Turn labels into the targets of one level.

    Args:
        labels: (N, faces, 15), see detector_data.Label.
        side: Of the images, in pixels.

    Returns:
        Scores (N, 2, h, w), 0 where no face is and -1 where the score is ignored, and values
        (N, 2, 14, h, w), right where the score is positive.
    """
    n, cells = len(labels), side // CELL
    wanted = np.zeros((n, 2, cells, cells), np.float32)
    values = np.zeros((n, 2, VALUES, cells, cells), np.float32)
    corner = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)))  # x, y of each cell
    for i, face in zip(*np.nonzero(labels[..., -1] != NO_FACE), strict=True):
        row = labels[i, face] / CELL
        box, points, whole = row[:4], row[4:14], labels[i, face, -1] == WHOLE
        size = float(max(box[2] - box[0], box[3] - box[1]))
        middle = (box[:2] + box[2:]) / 2 - 0.5  # cell 3 covers 3 to 4
        distance = np.hypot(*(corner - middle[:, None, None]))
        for anchor, (low, high) in enumerate(ANCHOR_RANGES):
            low, high = low / CELL, high / CELL
            if not low / TOLERANCE < size < high * TOLERANCE:
                continue
            layer = wanted[i, anchor]
            near = distance < max(NEAR * size, 1.0)
            layer[near & (layer == 0)] = -1
            if whole and low <= size <= high:
                centre = distance <= max(CENTRE * size, float(distance.min()) + 1e-3)
                sure = min(size * CELL / SURE_SIZE, 1.0)
                layer[centre] = UNSURE_SCORE + (1 - UNSURE_SCORE) * sure
                boxes = np.stack([*(corner - box[:2, None, None]), *(box[2:, None, None] - corner)])
                landmarks = points.reshape(5, 2, 1, 1) - corner
                all_values = np.concatenate([boxes, landmarks.reshape(10, cells, cells)])
                values[i, anchor][:, centre] = all_values[:, centre]
    return torch.from_numpy(wanted), torch.from_numpy(values)


def detection_losses(
    logits: Tensor, values: list[Tensor], wanted: Tensor, right: Tensor
) -> dict[str, Tensor]:
    """Focal cross-entropy of the scores, and L1 of boxes and landmarks over the face's size.

    Args:
        logits: Of `Detector.detect_at_level`.
        values: Of `Detector.detect_at_level`.
        wanted: Scores of `targets`.
        right: Values of `targets`.
    """
    counts = wanted >= 0
    target = wanted.clamp(min=0)
    error = (logits.sigmoid() - target).abs() ** 1.5
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    positive = wanted > 0
    total = positive.sum().clamp(min=1)
    truth = right.movedim(2, -1)[positive]
    size = (truth[:, 2:4] + truth[:, :2]).amax(1, keepdim=True)
    first, *refined = [(v.movedim(2, -1)[positive] - truth) / size for v in values]
    refined_landmarks = torch.cat([gap[:, 4:] for gap in refined])
    return {
        "score": (error * entropy * counts).sum() / total,
        "box": 2 * _smooth_l1(first[:, :4], beta=0.02),
        "guess": 5 * _smooth_l1(first[:, 4:], beta=0.02),
        "landmarks": 10 * _smooth_l1(refined_landmarks, beta=0.005),
    }


def _smooth_l1(gap: Tensor, beta: float) -> Tensor:
    return F.smooth_l1_loss(gap, torch.zeros_like(gap), beta=beta)


def train_detector(data: Path, folder: Path, minutes: float, resume: bool) -> None:
    """Train on canvases of rendered images and write `<folder>/faces/det.onnx`."""
    torch.manual_seed(1)
    make_canvases(data, data / "canvases", NUM_CANVASES, SEED)
    canvases = np.load(data / "canvases" / CANVASES_FILE, mmap_mode="r")
    labels = np.load(data / "canvases" / LABELS_FILE)
    detector = channels_last(Detector())

    def losses(step: int) -> dict[str, Tensor]:
        index = np.random.default_rng((SEED, step)).integers(len(canvases), size=BATCH)
        generator = torch.Generator().manual_seed(step)
        images = degrade(to_tensor(canvases[index]), generator, strength=0.7)
        images = images.contiguous(memory_format=torch.channels_last)
        logits, values = detector.detect_at_level(images)
        return detection_losses(logits, values, *targets(labels[index]))

    budget = Budget(minutes, learning_rate=3e-3, ema=0.998)
    trained = train("detector", detector, losses, budget, folder, resume)
    export_detector(trained, folder / "faces" / "det.onnx")


def export_detector(detector: Detector, path: Path) -> None:
    """Write a detector to an ONNX file; height and width of its image are free multiples of 32."""
    names = [f"{kind}_{CELL * level}" for kind in ("score", "box", "kps") for level in LEVELS]
    # The input is named "picture" in the shipped file; insightface takes whatever name it has.
    export(detector, path, torch.zeros(1, 3, 192, 256), "picture", names, dynamic=(2, 3))
