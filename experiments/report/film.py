"""Pictures: film strips of asked pairs, and the video of what the agent learned."""

import base64
import io
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from PIL import Image

from preflab.errors import InvalidArgument
from preflab.storage import write_atomically

Frames = npt.NDArray[np.uint8]
_QUALITIES = (
    (160, 82),
    (144, 76),
    (128, 70),
    (112, 64),
    (96, 58),
    (80, 50),
    (64, 40),
)  # frame width in pixels, JPEG quality


def film_steps(length: int, n_shown: int = 6) -> npt.NDArray[np.int64]:
    """Returns which `n_shown` steps of a segment of `length` steps a strip shows: evenly spaced, both ends included.

    >>> film_steps(50).tolist(), film_steps(3, 6).tolist()
    ([0, 10, 20, 29, 39, 49], [0, 0, 1, 1, 2, 2])
    """
    if length < 1 or n_shown < 1:
        raise InvalidArgument("length", "and n_shown must be at least 1", (length, n_shown))
    return np.floor(np.linspace(0, length - 1, n_shown) + 0.5).astype(np.int64)


def compose_film(frames: Frames, gap: int = 3) -> Frames:
    """Returns one strip (H, S · W + (S − 1) · gap, 3) of `frames` (S, H, W, 3), left to right, white between."""
    _check(frames)
    shown, height, width = frames.shape[:3]
    strip = np.full((height, shown * width + (shown - 1) * gap, 3), 255, dtype=np.uint8)
    for i, frame in enumerate(frames):
        strip[:, i * (width + gap) : i * (width + gap) + width] = frame
    return strip


def jpeg_data_uri(picture: Frames, width: int, quality: int) -> str:
    """Returns `picture` (H, W, 3) as a data URI, scaled down to `width` pixels if it is wider."""
    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def strips_within(frames: Frames, n_bytes: int) -> list[tuple[str, str]]:
    """Returns data URIs of both strips of each pair of `frames` (P, 2, S, H, W, 3), together at most `n_bytes` long.

    Frames start 160 pixels wide and become smaller and coarser until all strips fit; the smallest size is kept anyway.
    """
    shown = frames.shape[2]
    made: list[tuple[str, str]] = []
    for width, quality in _QUALITIES:
        uris = [[jpeg_data_uri(compose_film(side), shown * width, quality) for side in pair] for pair in frames]
        made = [(first, second) for first, second in uris]
        if sum(len(first) + len(second) for first, second in made) <= n_bytes:
            break
    return made


def write_video(path: Path, frames: Frames, fps: float) -> None:
    """Writes `frames` (T, H, W, 3) uint8 as H.264 (yuv420p, which every player and browser takes), atomically.

    Odd heights and widths are made even by repeating the last row or column, as yuv420p needs.

    Raises:
        InvalidArgument: no frames, another shape or dtype, or `fps` not above 0.
    """
    _check(frames)
    if not fps > 0:
        raise InvalidArgument("fps", "must be above 0", fps)
    even = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    write_atomically(Path(path), lambda temporary: _encode(temporary, even, fps))


def _encode(path: Path, frames: Frames, fps: float) -> None:
    size = (frames.shape[2], frames.shape[1])
    writer = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=fps,
        codec="libx264",
        pix_fmt_in="rgb24",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        quality=7,
        output_params=["-movflags", "+faststart", "-threads", "1"],
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()


def _check(frames: Frames) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise InvalidArgument(
            "frames", "must be (T, H, W, 3) uint8 with at least one frame", (frames.shape, str(frames.dtype))
        )
