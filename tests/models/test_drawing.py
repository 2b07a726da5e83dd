import numpy as np

from models.drawing import Note, draw_notes


def test_the_box_is_drawn_where_it_is_and_the_photo_left_alone_elsewhere() -> None:
    image = np.full((120, 100, 3), 128, dtype=np.uint8)
    picture = np.asarray(draw_notes(image, [Note((20, 30, 60, 90), ("dress 0.97", "colour red"))]))
    assert picture.shape[1] > 100, "the text has a column of its own"
    assert not (picture[30, 20:60] == 128).all(axis=-1).any(), "top edge"
    assert not (picture[30:90, 60] == 128).all(axis=-1).any(), "right edge"
    assert (picture[40:80, 30:50] == 128).all(), "inside"
    assert (image == 128).all(), "the caller's array"


def test_a_photo_without_garments_is_returned_as_it_is() -> None:
    image = np.arange(120 * 100 * 3, dtype=np.uint32).reshape(120, 100, 3).astype(np.uint8)
    assert (np.asarray(draw_notes(image, [])) == image).all()
