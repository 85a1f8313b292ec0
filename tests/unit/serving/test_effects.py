"""Objects cut out, blurred around, put elsewhere or dyed: one picture, or an archive of one an object."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from shared.calls import Effect, Format
from shared.errors import InvalidOption, Malformed
from shared.imaging.decode import decode
from shared.serving import effects
from shared.serving.effects import Named, effect_answer
from shared.types import Region, UInt8Array
from tests.data import encoded, pixels_of

SIZE = (80, 120)
GREY: UInt8Array = np.full((*SIZE, 3), 100, np.uint8)


def box(x0: int, y0: int, x1: int, y1: int) -> Region:
    mask = np.zeros(SIZE, np.bool_)
    mask[y0:y1, x0:x1] = True
    return Region.from_mask(mask)


LEFT: Named = ("car 0.91", box(5, 10, 45, 60))
RIGHT: Named = ("person/../x", box(70, 20, 110, 70))
NOTHING: Named = ("nothing", box(0, 0, 0, 0))


def read(image: bytes) -> UInt8Array:
    return decode(image, max_pixels=10**6, max_side=10**4)


def picture(form: Format, *objects: Named, **effect: object) -> UInt8Array:
    answer = effect_answer(form, Effect(**effect), GREY, objects, read)  # type: ignore[arg-type]
    assert answer.media_type == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.body)))


def test_one_object_is_one_picture_of_the_images_size() -> None:
    rgba = picture("cutout", LEFT)
    assert rgba.shape == (*SIZE, 4)
    assert (rgba[14:56, 9:41] == (100, 100, 100, 255)).all()
    assert (rgba[:, 60:] == 0).all()


def test_several_objects_are_an_archive_of_tight_pictures() -> None:
    answer = effect_answer("cutout", Effect(), GREY, iter([LEFT, NOTHING, RIGHT]), read)
    assert answer.media_type == "application/zip"
    assert dict(answer.headers)["Content-Disposition"] == 'attachment; filename="cutouts.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == ["001-car-0.91.png", "002-person-..-x.png"]
        for name in archive.namelist():
            rgba = np.asarray(Image.open(archive.open(name)))
            assert rgba.shape[2] == 4
            assert abs(rgba.shape[0] - 50) <= 4
            assert abs(rgba.shape[1] - 40) <= 4


def test_the_caller_chooses_between_picture_and_archive() -> None:
    both = picture("cutout", LEFT, RIGHT, packing="one")
    assert both[30, 20, 3] == both[30, 90, 3] == 255
    assert both[30, 58, 3] == 0
    archive = effect_answer("cutout", Effect(packing="zip"), GREY, [LEFT], read)
    assert zipfile.ZipFile(io.BytesIO(archive.body)).namelist() == ["001-car-0.91.png"]


def test_all_objects_together_before_another_background() -> None:
    shown = picture("replace", LEFT, RIGHT, background=(1, 2, 3))
    assert (shown[30, 20] == 100).all()
    assert (shown[30, 90] == 100).all()
    assert (shown[30, 58] == (1, 2, 3)).all()
    image = encoded(np.full((8, 8, 3), (9, 200, 9), np.uint8))
    assert (picture("replace", LEFT, background_image=image)[30, 90] == (9, 200, 9)).all()


@pytest.mark.parametrize("field", ["background_image", "background_id"])
def test_a_background_that_cannot_be_decoded_is_told_by_its_own_field(field: str) -> None:
    cut = encoded(np.full((8, 8, 3), 9, np.uint8))[:-30]
    with pytest.raises(Malformed) as caught:
        picture("replace", LEFT, background_image=cut, background_field=field)
    assert caught.value.details[0].field == field
    assert caught.value.message.startswith(f"{field}: ")


def test_blur_and_dye() -> None:
    assert (picture("blur", LEFT) == 100).all(), "a plain picture stays plain"
    dyed = picture("recolor", RIGHT, color=(200, 0, 0), tint=1.0).astype(int)
    assert dyed[40, 90, 0] > dyed[40, 90, 1] + 50
    assert (dyed[:, :55] == 100).all()


def test_nothing_found_is_a_picture_all_the_same() -> None:
    assert (picture("cutout") == 0).all()
    assert (picture("replace", background=(1, 2, 3)) == (1, 2, 3)).all()
    assert (picture("recolor", color=(200, 0, 0)) == 100).all()
    assert (
        zipfile.ZipFile(io.BytesIO(effect_answer("cutout", Effect(packing="zip"), GREY, [], read).body)).namelist()
        == []
    )


def test_too_many_pixels_for_one_archive_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "MAX_ZIP_PIXELS", 3000)
    with pytest.raises(InvalidOption, match="too many cut-outs"):
        effect_answer("cutout", Effect(), GREY, [LEFT, RIGHT], read)


def test_the_mattes_border_can_be_left_out() -> None:
    photo = np.full((*SIZE, 3), 200, np.uint8)
    photo[10:60, 5:45] = 60
    photo[8:10, 20:23] = 60  # a strand that the mask has missed
    plain, refined = (
        pixels_of(effect_answer("cutout", Effect(matting=on), photo, [LEFT], read).body)[8, :, 3].astype(int)
        for on in (False, True)
    )
    assert (plain[10:40] == plain[35]).all()
    assert refined[21] > refined[35] + 40
