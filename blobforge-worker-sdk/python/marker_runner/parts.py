"""Parts of a document, as they are kept between attempts: a zip with pages as JSON and pictures as files.

No part holds code: it comes from a store that others can write to.
"""

import dataclasses
import importlib.metadata
import io
import json
import zipfile

#: Raised when what is written here changes.
FORMAT = 1
#: What makes no sense in a file: images are drawn anew, and the source's characters are needed for tables alone.
NOT_STORED = {"lowres_image", "highres_image", "pdftext_page", "children", "block_description"}


@dataclasses.dataclass
class Manifest:
    """What a part is."""

    pages: list
    options: dict
    mode: str
    calls: dict = dataclasses.field(default_factory=dict)
    warnings: list = dataclasses.field(default_factory=list)
    #: Pages that are missing, and why.
    skipped: dict = dataclasses.field(default_factory=dict)
    seconds: float = 0
    format: int = FORMAT
    #: Pages as JSON are a matter of marker's own classes.
    marker: str = dataclasses.field(default_factory=lambda: importlib.metadata.version("marker-pdf"))


def write(path, manifest, stored, tables):
    """Writes a part."""
    from marker.settings import settings

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", json.dumps(dataclasses.asdict(manifest)))
        file.writestr("pages.json", json.dumps(stored.pages))
        file.writestr("tables.json", json.dumps(tables))
        for name, picture in stored.pictures.items():
            content = io.BytesIO()
            picture.save(content, settings.OUTPUT_IMAGE_FORMAT)
            file.writestr(zipfile.ZipInfo(f"pictures/{name}"), content.getvalue())


def look(kept):
    """What a kept part holds, if this worker can go on from it."""
    try:
        with Part(kept["path"]) as part:
            manifest = part.manifest
            return {"name": kept["name"], "pages": manifest.pages, "mode": manifest.mode}
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        print(f"the kept part {kept['name']} is of no use here, and its pages are converted again: {error}")
        return None


class Part:
    """A part that was written here or by another worker."""

    def __init__(self, path):
        self._file = zipfile.ZipFile(path)
        manifest = json.loads(self._file.read("manifest.json"))
        current = Manifest([], {}, "")
        for field in ("format", "marker"):
            if manifest.get(field) != getattr(current, field):
                raise ValueError(f"it is of {field} {manifest.get(field)}, and this worker's is {getattr(current, field)}")
        self.manifest = Manifest(**manifest)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def pages(self):
        return [page_from_json(page) for page in json.loads(self._file.read("pages.json"))]

    def tables(self):
        return json.loads(self._file.read("tables.json"))

    def picture(self, name):
        return self._file.read(f"pictures/{name}")

    def pictures(self):
        return [name.removeprefix("pictures/") for name in self._file.namelist() if name.startswith("pictures/")]


def page_to_json(page):
    """A page and all of its blocks, those that were replaced as well: a block's number is its place."""
    return {**block_to_json(page), "children": [block_to_json(block) for block in page.children or []]}


def block_to_json(block):
    content = block.model_dump(mode="json", exclude=NOT_STORED, exclude_defaults=True)
    # What a block is stands in its class; by name, since numbers are given anew when types are added.
    return {"type": block.block_type.name, **content}


def page_from_json(stored):
    children = [block_from_json(block) for block in stored.pop("children")]
    page = block_from_json(stored)
    page.children = children
    return page


def block_from_json(stored):
    from marker.schema import BlockTypes
    from marker.schema.registry import get_block_class

    return get_block_class(BlockTypes[stored.pop("type")]).model_validate(stored)
