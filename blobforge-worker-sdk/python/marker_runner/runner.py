"""The runner of the marker engine: does one step of a job at a time, and holds no model itself.

Which steps there are and in which order is the worker's decision; see `conversion.rs` of the worker's SDK:

- `inspect`: how many pages there are, and which parts that earlier attempts kept can be used;
- `pages`: convert some pages into a part, which is kept as a checkpoint;
- `skip`: make a part that says of its page that it is missing;
- `document`: join all parts into the outputs.
"""

import gc
import time

from blobforge_runner import BadInput, Encrypted, JobError, serve

import parts
from models import ModelServerError, Models, NeedsServer

#: What a step finds in its parameters, by its name.
STEPS = {}


def step(function):
    STEPS[function.__name__] = function
    return function


def main():
    # Imported here, so that what is missing is said by name, and before the first job.
    import pages

    pages.check_processors()
    models = Models()
    serve(lambda job: run(job, models))


def run(job, models):
    order = job.params
    begun = time.monotonic()
    try:
        return STEPS[order["step"]](job, order, models, begun)
    except NeedsServer as error:
        raise JobError(str(error), "needs_vlm") from None
    except ModelServerError as error:
        raise JobError(str(error), error.kind) from None
    except Exception as error:
        raise_known(error)
        raise
    finally:
        gc.collect()


def raise_known(error):
    """Raises what the worker understands, if that can be said of an error of a library."""
    name = type(error).__name__
    if name == "PdfiumError":
        if "assword" in str(error):
            raise Encrypted("this PDF needs a password") from None
        raise BadInput(f"this is no PDF that can be read: {error}") from None
    trouble = ModelServerError.of(error)
    if trouble is not None:
        raise JobError(str(trouble), trouble.kind) from None


@step
def inspect(job, order, _models, _begun):
    """Looks at the source without converting anything."""
    import pypdfium2

    usable = [kept for kept in (parts.look(kept, order["options"]) for kept in order["parts"]) if kept is not None]
    document = pypdfium2.PdfDocument(job.source)
    try:
        pages = len(document)
    finally:
        document.close()
    if pages == 0:
        raise BadInput("this PDF has no pages")
    return {"pages": pages, "parts": usable}


@step
def pages(job, order, models, begun):
    """Converts some pages, and has what came of them kept."""
    import pages as conversion

    progress = Progress(job, order)
    with models.at_work(progress, order["servers"], order["allow_partial"]) as tally:
        document = conversion.convert(str(job.source), order, models, progress)
        tally.raise_if_partial()
    manifest = parts.Manifest(
        pages=order["pages"],
        options=order["options"],
        mode=order["mode"],
        calls=dict(tally.calls),
        warnings=tally.warnings,
        seconds=round(time.monotonic() - begun, 3),
    )
    keep(job, order, manifest, document)
    return {"seconds": manifest.seconds, "errors": tally.errors()}


@step
def skip(job, order, _models, _begun):
    """Puts a visible mark where a page is missing."""
    import pages as conversion

    [page] = order["pages"]
    document = conversion.missing_page(str(job.source), page, order["why"])
    manifest = parts.Manifest(
        pages=[page], options=order["options"], mode=order["mode"], skipped={page: order["why"]}
    )
    keep(job, order, manifest, document)
    return {}


def keep(job, order, manifest, document):
    """Has a part survive whatever happens, where the worker looks for it."""
    path = job.scratch_dir / f"{order['name']}.zip"
    parts.write(path, manifest, document)
    job.checkpoint(order["name"], path)


@step
def document(job, order, models, _begun):
    """Joins the parts, does what concerns the whole document, and writes the outputs."""
    import document as whole

    return whole.write(job, order, models)


class Progress:
    """How far the pages of a step are, told in pages of the whole job."""

    #: The stages of a conversion in their order, with what part of the time each is expected to take.
    STAGES = {"reading": 0.1, "layout": 0.25, "text": 0.1, "ocr": 0.35, "tables": 0.1, "pictures": 0.1}

    def __init__(self, job, order):
        self._job, self._count = job, len(order["pages"])
        self._before, self._total = order["done"], order["total"]
        self._steps = 0

    def advance(self):
        """A piece of work was done, though it may be less than a page."""
        self._steps += 1

    def check(self):
        """Leaves the job if it was called off."""
        self._job.check()

    def __call__(self, stage, done=0, of=1):
        names = list(self.STAGES)
        earlier = sum(self.STAGES[name] for name in names[: names.index(stage)])
        share = earlier + self.STAGES[stage] * min(1, done / max(1, of))
        page = self._before + int(share * self._count)
        message = f"{done} of {of}" if of > 1 else None
        self._job.progress(page, self._total, stage, message, self._steps)


if __name__ == "__main__":
    main()
