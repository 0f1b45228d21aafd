"""Images as callers give them: the form of a value is found, and its images are opened one by one."""

from __future__ import annotations

__all__ = ['ImageArray', 'ImageInput', 'NamedImage', 'expand_images', 'find_image_form', 'is_endless', 'open_image']

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from poseplug.core.errors import ImageError
from poseplug.files.stated_size import check_min_image_size
from poseplug.predict.image_inputs.arrays import ImageArray
from poseplug.predict.image_inputs.base import ImageForm, NamedImage
from poseplug.registry import IMAGE_INPUTS
from poseplug.registry.plugins import list_plugin_parts

ImageInput = Any  # whatever a registered form matches: a path, bytes, an array, an image of Pillow, ...


def find_image_form(value: Any) -> ImageForm | None:
    """Return the form that a value has; None if it has none, as a list of images.

    Forms of other packages come before the built-in ones.
    """
    # the number of forms is the key of the cache, so that a form that is registered later counts from then on
    forms = _build_image_forms(len(IMAGE_INPUTS))
    return next((form for form in forms if form.matches(value)), None)


@cache
def _build_image_forms(_: int) -> tuple[ImageForm, ...]:
    """All forms; built anew when another one has been registered."""
    offered = [part.name for part in list_plugin_parts(IMAGE_INPUTS.name)]
    names = dict.fromkeys([*offered, *IMAGE_INPUTS.list_names()])
    forms = [IMAGE_INPUTS.build(dict(type=name)) for name in names]
    # The path of a file is what any text may be, so that it comes last; among the others the order does not matter.
    return tuple(sorted(forms, key=_get_form_rank))


def _get_form_rank(form: ImageForm) -> int:
    if not type(form).__module__.startswith('poseplug.'):
        return 0
    return 2 if type(form).__name__ == 'ImageFile' else 1


def open_image(image: ImageInput, index: int, form: ImageForm | None = None) -> NamedImage:
    """Open a single image from any of the registered forms.

    Args:
        image: a path, the bytes of an image file, an array (H, W, 3) of uint8 in BGR order, an `ImageArray`, ...
        index: position of the image among the caller's images; those without a path are named after it in messages.
        form: that the image has, from `find_image_form`; None to find it here.

    Returns:
        The path (`image INDEX` where there is none) and the pixels (H, W, 3), uint8, BGR, upright.

    Raises:
        ImageError: the image cannot be read or is only one pixel wide or high, or the value is no image.
    """
    form = form or find_image_form(image)
    if form is None or not form.is_single:
        raise ImageError(
            f'image {index} is a {type(image).__name__}; give a path, the bytes of a file, or (H, W, 3) of uint8, BGR; '
            f'declare other arrays and tensors by ImageArray'
        )
    opened = form.read(image, f'image {index}')
    check_min_image_size(opened.path, (opened.pixels.shape[1], opened.pixels.shape[0]))
    return opened


def is_endless(images: Any) -> bool:
    """Whether images, or an entry of a list of them, are a camera or a stream, which do not end by themselves."""
    # an iterator is not asked, since that would use up its images
    if isinstance(images, list | tuple) and find_image_form(images) is None:
        return any(map(is_endless, images))
    # Few forms are endless, and what fits none of them needs no look at the file system, which the others take.
    forms = _build_image_forms(len(IMAGE_INPUTS))
    if not any(form.is_endless and form.matches(images) for form in forms):
        return False
    form = find_image_form(images)
    return form is not None and form.is_endless


def expand_images(images: Iterable[Any]) -> Iterator[ImageInput]:
    """Yield single images, with lists, folders, patterns and videos replaced by their images."""
    for image in images:
        form = find_image_form(image)
        if form is None and isinstance(image, list | tuple):
            yield from expand_images(image)
        elif form is None or form.is_single:
            yield image
        else:
            yield from expand_images(form.expand(image))
