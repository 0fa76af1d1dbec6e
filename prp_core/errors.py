"""The errors that this package raises on purpose.

`UserError` and its children are the user's: the command line prints them as one line and exits with
code 2. The others come from outside (an object that changed, a video that is broken, a loss that is
not a number); whoever catches one decides by its type, not by its text.
"""

from __future__ import annotations


class PrpError(Exception):
    """Base class of every error raised on purpose; `exit_code` is the command line's."""

    exit_code = 1


class UserError(PrpError, ValueError):
    """The input is wrong; exit code 2 at the command line.

    The text names the value, shows it and says what to do.
    """

    exit_code = 2


class UnsuitableClasses(UserError):
    """The classes of a corpus cannot judge an encoder: there are none, one, or none in common."""


class DiskFull(UserError):
    """A cache's disk has no room left; whoever can do without the file goes on without it."""


class ObjectRefused(UserError):
    """The store has the object and does not give it to this user: permissions, or an archive."""


class StoreError(PrpError):
    """Base class of errors of an object store; each names the object's URI."""


class ObjectMissing(StoreError):
    """The store says that there is no such object."""


class ObjectChanged(StoreError):
    """The object is no longer the one that was named (another etag, size or sha256, or gone)."""


class ObjectExists(StoreError):
    """A write that asked for an empty place found an object there."""


class CorruptObject(StoreError):
    """The bytes that arrived are not those the manifest promises, after every retry."""


class StoreUnavailable(StoreError):
    """The store throttled, stalled or could not be reached until the deadline passed."""


class BrokenVideo(PrpError):
    """One video cannot be read.

    `reason` is one of `QUARANTINE_REASONS`; `detail` is for a person.
    """

    def __init__(self, key: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{key}: {reason}" + (f" ({detail})" if detail else ""))
        self.key = key
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[BrokenVideo], tuple[str, str, str]]:
        return (BrokenVideo, (self.key, self.reason, self.detail))


QUARANTINE_REASONS = {
    "empty": "the object has no bytes",
    "not-a-video": "the first bytes are those of no video container we let a decoder see",
    "no-video-stream": "the container opens but holds no video",
    "nothing-shown": "the edit list of the mp4 hides every frame",
    "undecodable": "the decoder gives up before the first frame",
    "truncated": "fewer frames decode than the container says, or the file ends before it",
    "repeated-frames": "the decoder repeats one frame in place of the ones it lost",
    "too-large": "the picture, or the whole video, is larger than the pixel budget",
    "needs-prepare": "one frame needs too many others decoded; 'prp data prepare' reads all once",
    "too-slow": "decoding passed its time limit and was killed",
    "out-of-memory": "decoding passed its memory limit and was killed",
    "crashed": "the decoder process died",
    "missing": "the store has no such object any more",
    "changed": "the object is no longer the one that was listed",
    "unreadable": "the store does not give the object: permissions, an archive or a failing disk",
    "bad-name": "the name is not UTF-8, which a manifest cannot hold",
    "corrupt": "the bytes do not match the object's checksum",
}


# A whole video, only too expensive to read at random: preparing it makes it usable.
NEEDS_PREPARE = "needs-prepare"


class FeaturesNotFinite(PrpError):
    """Features of an evaluation are no finite numbers; the same on every rank, and again each time.

    `key` is the first such video, of `num_bad` among `num_videos`.
    """

    def __init__(self, key: str, num_bad: int, num_videos: int) -> None:
        super().__init__(
            f"the feature of {key!r} is not finite ({num_bad} of {num_videos} videos): "
            "training diverged without its loss showing it, or the encoder's values are too large "
            "for float32; lower training.learning_rate, or set training.max_gradient_norm"
        )
        self.key = key
        self.num_bad = num_bad
        self.num_videos = num_videos

    def __reduce__(self) -> tuple[type[FeaturesNotFinite], tuple[str, int, int]]:
        return (FeaturesNotFinite, (self.key, self.num_bad, self.num_videos))


class DivergedError(PrpError):
    """A loss is not a finite number; raised on every rank at the same step."""

    def __init__(self, step: int, loss_name: str, value: float) -> None:
        super().__init__(
            f"{loss_name} is {value} at step {step}: training diverged; lower "
            "training.learning_rate"
        )
        self.step = step
        self.loss_name = loss_name
        self.value = value

    def __reduce__(self) -> tuple[type[DivergedError], tuple[int, str, float]]:
        return (DivergedError, (self.step, self.loss_name, self.value))
