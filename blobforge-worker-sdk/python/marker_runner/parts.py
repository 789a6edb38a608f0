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
#: The most that a part may hold, in bytes. Its pictures are most of it.
SIZE_MAX = 4 << 30
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


def write(path, manifest, stored):
    """Writes a part."""
    from marker.settings import settings

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", json.dumps(dataclasses.asdict(manifest)))
        file.writestr("pages.json", json.dumps(stored.pages))
        file.writestr("tables.json", json.dumps(stored.tables))
        file.writestr("links.json", json.dumps(stored.links))
        for name, picture in stored.pictures.items():
            content = io.BytesIO()
            picture.save(content, settings.OUTPUT_IMAGE_FORMAT)
            file.writestr(zipfile.ZipInfo(f"pictures/{name}"), content.getvalue())


def look(kept, options):
    """What a kept part holds, if this worker can go on from it. It comes from elsewhere, so that anything may be wrong."""
    try:
        with Part(kept["path"]) as part:
            part.check(options)
            return {"name": kept["name"], "pages": ranges(part.manifest.pages), "mode": part.manifest.mode}
    except Exception as error:
        print(f"the kept part {kept['name']} is of no use here, and its pages are converted again: {error!r}")
        return None


def ranges(pages):
    """Pages in few words: the first and the last of those that follow each other."""
    found = []
    for page in pages:
        if found and found[-1][1] == page - 1:
            found[-1][1] = page
        else:
            found.append([page, page])
    return found


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

    def check(self, options):
        """Raises unless everything is there that its manifest says, and is of a bearable size."""
        size = sum(entry.file_size for entry in self._file.infolist())
        if size > SIZE_MAX:
            raise ValueError(f"it has {size} bytes")
        if self.manifest.options != options:
            raise ValueError("it was made with other options")
        pages = sorted(page.page_id for page in self.pages())
        if not pages or pages != self.manifest.pages:
            raise ValueError(f"it has the pages {pages} and should have {self.manifest.pages}")
        tables, led = self.tables(), self.links()
        if not isinstance(tables, dict) or not isinstance(led, dict):
            raise ValueError("it is of another shape")

    def links(self):
        return {int(page): led for page, led in json.loads(self._file.read("links.json")).items()}

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
    # What a block is stands in its class, and would be left out as a default.
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
