"""The role IND or OOD follows from the training sets of a checkpoint."""

from __future__ import annotations

import pytest

from imltool.errors import DataError
from imltool.evaluation.roles import find_overlap, plain_name, refuse_hidden_overlap
from imltool.student.header import TrainingSet

CASIA = TrainingSet(name="CASIA-v1 dev", files=("a" * 64, "b" * 64))
PHOTOS = TrainingSet(name="photos", files=("c" * 64,))


def test_trained_set_name_is_ind_regardless_of_case_and_punctuation() -> None:
    overlap = find_overlap("casia_v1.DEV", {"tampered/x.jpg": "f" * 64}, [PHOTOS, CASIA])
    assert (overlap.role, overlap.named, overlap.n_seen, overlap.source_set) == ("ind", True, 0, "CASIA-v1 dev")
    refuse_hidden_overlap("casia_v1.DEV", overlap)  # the name shows the overlap: nothing is hidden


def test_unseen_files_under_another_name_are_ood() -> None:
    overlap = find_overlap("casia-v1", {"tampered/x.jpg": "f" * 64}, [PHOTOS, CASIA])
    assert (overlap.role, overlap.n_seen, overlap.source_set, overlap.first) == ("ood", 0, "", "")
    refuse_hidden_overlap("casia-v1", overlap)


def test_everything_is_ood_without_training_sets() -> None:
    assert find_overlap("x", {"tampered/x.jpg": "a" * 64}, []).role == "ood"


def test_seen_files_under_another_name_are_ind_and_refused_as_ood() -> None:
    files = {"tampered/0.jpg": "f" * 64, "tampered/1.jpg": "b" * 64, "authentic/2.jpg": "a" * 64}
    overlap = find_overlap("fresh", files, [PHOTOS, CASIA])
    assert (overlap.role, overlap.named, overlap.n_seen) == ("ind", False, 2)
    with pytest.raises(DataError) as caught:
        refuse_hidden_overlap("fresh", overlap)
    assert "2 pictures of it were trained on" in caught.value.message
    assert "CASIA-v1 dev" in caught.value.message
    assert "tampered/1.jpg" in caught.value.message
    assert caught.value.remedy


def test_validation_pictures_count_as_seen() -> None:
    files = {"tampered/0.jpg": "f" * 64, "tampered/1.jpg": "b" * 64}
    overlap = find_overlap("fresh", files, [PHOTOS], [CASIA])
    assert (overlap.role, overlap.n_seen, overlap.first) == ("ind", 1, "tampered/1.jpg")
    with pytest.raises(DataError, match=r"1 picture of it was validated on \(CASIA-v1 dev\), the first is tampered"):
        refuse_hidden_overlap("fresh", overlap)
    both = find_overlap("fresh", files | {"tampered/2.jpg": "c" * 64}, [PHOTOS], [CASIA])
    assert (both.n_seen, both.seen_as) == (2, "trained or validated on")
    named = find_overlap("casia v1-dev", {}, [PHOTOS], [CASIA])
    assert (named.role, named.named, named.seen_as) == ("ind", True, "")


def test_named_training_set_is_the_one_with_most_pictures() -> None:
    files = {"1": "c" * 64, "2": "a" * 64, "3": "b" * 64}
    assert find_overlap("fresh", files, [PHOTOS, CASIA]).source_set == "CASIA-v1 dev"


def test_names_without_letters_are_compared_exactly() -> None:
    assert plain_name("--") == plain_name("..") == ""
    assert find_overlap("--", {}, [TrainingSet(name="..")]).role == "ood"
    assert find_overlap("--", {}, [TrainingSet(name="--")]).role == "ind"
