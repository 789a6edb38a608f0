"""All parts become one document: what concerns the whole of it, and the outputs."""

import base64
import collections
import contextlib
import hashlib
import importlib.metadata
import json
import re
import zipfile

from marker.output import text_from_rendered
from marker.schema.document import Document
from marker.settings import settings
from surya.settings import settings as models_settings

import links
import pages
import parts

#: How many of the pages that are missing the result of the job names.
SKIPPED_MAX = 100
#: What a document is called, by the format that was asked for.
NAMES = {"markdown": "document.md", "html": "document.html", "json": "document.json", "chunks": "document.json"}


def write(job, order, models):
    """Writes `document.*`, `images/*` and `metadata.json`, and says what is in them."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(parts.Part(path)) for path in order["parts"]]
        stored = [page for part in opened for page in part.pages()]
        document = Document(filepath=str(job.source), pages=sorted(stored, key=lambda page: page.page_id))
        if parts.ranges(page.page_id for page in document.pages) != order["pages"]:
            raise RuntimeError("the parts are not all of the document")
        links.number(document.pages, {page: led for part in opened for page, led in part.links().items()})
        tables = {name: read for part in opened for name, read in part.tables().items()}
        pictures = {name: part for part in opened for name in part.pictures()}
        marker = pages.converter(order, models)
        finish(document, pages.processors(marker), tables, job, order["total"])
        rendered = render(marker, document, pictures)
        text, _, shown = text_from_rendered(rendered)
        form = order["options"].get("output_format", "markdown")
        text = with_image_folder(text, shown) if form in ("markdown", "html") else text
        job.output(NAMES[form]).write_text(text, encoding="utf-8", errors="replace")
        write_images(job, shown, order["outputs_max"])
        told = metadata(job, order, rendered, [part.manifest for part in opened])
        job.output("metadata.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
    return summary(told, text, shown)


def finish(document, by_name, tables, job, total):
    """Does what marker does across pages."""
    for step, name in enumerate(pages.OF_THE_DOCUMENT):
        job.progress(total, total, "document", "joining the pages", step + 1)
        if name == pages.TABLES:
            fill_in(by_name[name], document, tables)
        else:
            by_name[name](document)


def fill_in(processor, document, tables):
    """Puts into the tables what was read of them when their pages were at hand."""
    by_page = processor.collect_tables(document)
    for blocks in by_page.values():
        for block in blocks:
            if str(block.id) in tables:
                block.html, block.text_extraction_method = tables[str(block.id)]
                block.structure = []
    processor.cleanup_contained_blocks(document, by_page)


def render(marker, document, pictures):
    """The document in the format that was asked for, with the pictures that were taken of its pages."""
    renderer = marker.resolve_dependencies(marker.renderer)

    def taken(_document, block_id, to_base64=False):
        name = block_id.to_path()
        content = pictures[name].picture(name)
        return base64.b64encode(content).decode() if to_base64 else content

    renderer.extract_image = taken
    return renderer(document)


def with_image_folder(text, images):
    """Pictures lie in a folder of their own."""
    if not images:
        return text
    names = "|".join(map(re.escape, images))
    return re.sub(rf"""(\]\(|src=["'])({names})(?=[)"'])""", r"\1images/\2", text)


def write_images(job, images, most):
    """Writes the pictures, in an archive if a job may not have so many outputs."""
    # Beside the document and its metadata.
    if len(images) <= most - 2:
        for name, content in images.items():
            job.output(f"images/{name}").write_bytes(content)
        return
    with zipfile.ZipFile(job.output("images.zip"), "w") as archive:
        for name, content in images.items():
            archive.writestr(f"images/{name}", content)


def metadata(job, order, rendered, manifests):
    calls = collections.defaultdict(collections.Counter)
    for manifest in manifests:
        for model, counted in manifest.calls.items():
            calls[model].update(counted)
    skipped = {int(page): why for manifest in manifests for page, why in manifest.skipped.items()}
    seconds = {page: manifest.seconds / len(manifest.pages) for manifest in manifests for page in manifest.pages}
    statistics = rendered.metadata["page_stats"]
    for page in statistics:
        number = page["page_id"]
        page["text_extraction_method"] = "skipped" if number in skipped else page["text_extraction_method"]
        page["seconds"] = round(seconds[number], 3)
    return {
        "source": {"sha256": digest(job.source), "name": job.source_label, "pages": order["source_pages"]},
        "versions": versions(),
        "models": {
            "vlm": models_settings.SURYA_MODEL_CHECKPOINT,
            "layout": models_settings.FAST_LAYOUT_MODEL_CHECKPOINT,
            "ocr_error": models_settings.OCR_ERROR_MODEL_CHECKPOINT,
        },
        "mode": order["mode"],
        "options": order["options"],
        "model_calls": calls,
        "skipped_pages": skipped,
        "warnings": [warning for manifest in manifests for warning in manifest.warnings],
        "seconds": round(sum(manifest.seconds for manifest in manifests), 3),
        "table_of_contents": rendered.metadata["table_of_contents"],
        "page_stats": statistics,
    }


def versions():
    """What did the work."""
    packages = ("marker-pdf", "surya-ocr", "pdftext", "pypdfium2", "torch", "transformers")
    return {package: importlib.metadata.version(package) for package in packages}


def digest(path):
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()


def summary(told, text, images):
    """The result of the job."""
    methods = collections.Counter(page["text_extraction_method"] for page in told["page_stats"])
    return {
        "pages": len(told["page_stats"]),
        "pages_by_method": methods,
        "skipped_pages": sorted(told["skipped_pages"])[:SKIPPED_MAX],
        "pages_skipped": len(told["skipped_pages"]),
        "characters": len(text),
        "images": len(images),
        "mode": told["mode"],
        "model_calls": sum(counted["calls"] for counted in told["model_calls"].values()),
        "answers_cut_off": sum(counted["cut_off"] for counted in told["model_calls"].values()),
        "model_errors": sum(counted["errors"] for counted in told["model_calls"].values()),
        "seconds": told["seconds"],
        "marker": told["versions"]["marker-pdf"],
    }
