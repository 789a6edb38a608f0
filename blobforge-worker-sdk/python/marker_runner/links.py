"""Links within a document, which are numbered by the page that they lead to.

The library numbers them anew whenever it reads pages, in the order in which it meets them. What it meets in each page is
written down, so that they can be numbered over the whole document in the end.
"""

import contextlib

import pdftext.pdf.links
from pdftext.schema import PageReference


@contextlib.contextmanager
def recorded():
    """While pages are read: by page, where its links lead (page and position) and what they were called."""
    led, merge_links = {}, pdftext.pdf.links.merge_links

    def merge_and_record(page, pdf, references):
        recorder = Recorder(references)
        merge_links(page, pdf, recorder)
        led[page["page"]] = recorder.led

    pdftext.pdf.links.merge_links = merge_and_record
    try:
        yield led
    finally:
        pdftext.pdf.links.merge_links = merge_links


class Recorder:
    """Stands before the references of the pages that are read."""

    def __init__(self, references):
        self._references, self.led = references, []

    def add_ref(self, page, position):
        reference = self._references.add_ref(page, position)
        self.led.append([page, list(position), reference.url])
        return reference


def number(pages, led):
    """Numbers the links of all pages, and puts the anchors where they lead."""
    references = PageReference()
    for page in pages:
        called = {}
        for to, position, name in led.get(page.page_id, []):
            called[name] = references.add_ref(to, position).url
        for block in page.children:
            name = getattr(block, "url", None)
            if name in called:
                block.url = called[name]
    for page in pages:
        page.refs = references.get_refs(page.page_id)
