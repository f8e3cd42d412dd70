"""Everything that a run of `imltool annotate` needs, opened together and closed in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imltool.annotate.embedding_worker import EmbeddingWorker
from imltool.annotate.pictures import PictureFolder
from imltool.annotate.records import MOST_BOXES, Content, DrawnBox, SessionStart
from imltool.annotate.server import build_app
from imltool.annotate.store import AnnotationStore
from imltool.data.boxes import MatchedImage
from imltool.device import choose_device
from imltool.errors import DataError, UsageError
from imltool.files import sha256_file
from imltool.inference.localizer import Localizer
from imltool.journal import utc_now
from imltool.pages.server import PageServer, person_name
from imltool.teacher.embeddings import EmbeddingFolder
from imltool.teacher.registry import TEACHERS, WITH_WEIGHTS, load_sam, teacher_weights
from imltool.versions import __version__


@dataclass(frozen=True)
class OpenSession:
    """An open session."""

    server: PageServer
    store: AnnotationStore

    def take_over(self, matched: list[MatchedImage]) -> int:
        """Give pictures without a history the boxes of another file for correction; returns the number of pictures.

        Raises `DataError` for a picture with more boxes than allowed, `OutputError`.
        """
        taken = 0
        for item in matched:
            if item.name not in self.store.pictures.names or self.store.history(item.name).present is not None:
                continue
            if len(item.boxes) > MOST_BOXES:
                raise DataError(
                    f"{item.name} has {len(item.boxes)} boxes, and a picture can have {MOST_BOXES}",
                    "leave some out of the file that --boxes names",
                )
            boxes = []
            for box, label in zip(item.boxes, item.accepted, strict=True):
                x1, y1, x2, y2 = (float(side) for side in box)
                mask = label.mask if label else None
                accepted = None if label is None else ("mask" if mask else "box")
                boxes.append(DrawnBox(box=(x1, y1, x2, y2), accepted=accepted, origin="imported", mask=mask))
            facts = (sha256_file(item.image), *item.size)
            self.store.save(item.name, 0, Content(boxes=tuple(boxes)), facts, action="import")
            taken += 1
        return taken


@contextmanager
def open_session(
    pictures: PictureFolder,
    out: Path,
    *,
    teacher: str,
    weights: Path | None = None,
    device: str = "auto",
    annotator: str | None = None,
    suggest: bool = False,
    port: int = 0,
    embeddings: EmbeddingFolder | None = None,
) -> Iterator[OpenSession]:
    """Load the teacher, open the journals and bind the port; on exit everything is written and closed.

    Args:
        embeddings: see `load_sam`.

    Raises `UsageError` (teacher, annotator's name, port), `WeightsError`, and what `AnnotationStore` raises.
    """
    who = person_name(annotator, "--annotator")
    if teacher in TEACHERS and teacher not in WITH_WEIGHTS:
        raise UsageError(f"teacher {teacher} cannot make live masks", "choose mobile-sam, vit-b, vit-l or vit-h")
    path = teacher_weights(teacher, weights)
    # the encoder can be interrupted after each layer, so that the person does not wait for an embedding in progress
    sam = load_sam(teacher, weights, device, embeddings=embeddings, steppable=True)
    localizer = Localizer.load(None, choose_device(device), "torch") if suggest else None
    first = SessionStart(
        annotator=who,
        time=utc_now(),
        tool_version=__version__,
        root=str(pictures.root),
        teacher=teacher,
        weights_sha256=sha256_file(path) if path else None,
        suggestions=localizer.sha256 if localizer else None,
    )
    with AnnotationStore(out, pictures, first) as store:
        worker = EmbeddingWorker(pictures, sam, localizer)
        try:
            yield OpenSession(PageServer(lambda: build_app(pictures, worker, store, teacher), port), store)
        finally:
            worker.close()
